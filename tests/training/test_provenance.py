"""What identifies a data folder."""

from pathlib import Path

import pytest

from istvt.data.layouts.folder import list_videos
from istvt.training.provenance import describe_data

SPLITS = ("train", "val")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for split in SPLITS:
        for kind in ("real", "fake"):
            path = tmp_path / "data" / split / kind / "0.mp4"
            path.parent.mkdir(parents=True)
            path.write_text(f"{split} {kind}")
    return tmp_path / "data"


def digest(folder: Path) -> str:
    return describe_data(folder, list_videos(folder, splits=SPLITS), max_frames=None).videos_sha256


def test_the_digest_is_of_the_list_and_not_of_its_order_or_place(data: Path) -> None:
    videos = list_videos(data, splits=SPLITS)
    facts = describe_data(data, videos, max_frames=7)
    assert describe_data(data, videos[::-1], max_frames=7) == facts
    assert (facts.folder, facts.max_frames) == (str(data.resolve()), 7)
    before = digest(data)
    assert digest(data.rename(data.with_name("moved"))) == before


@pytest.mark.parametrize("change", ["label", "split", "name", "content", "more"])
def test_the_digest_changes_with_the_list(data: Path, change: str) -> None:
    before, one = digest(data), data / "train" / "real" / "0.mp4"
    match change:
        case "label":
            one.with_name("1.mp4").write_text("x")
            before = digest(data)
            one.with_name("1.mp4").rename(data / "train" / "fake" / "1.mp4")
        case "split":
            one.with_name("1.mp4").write_text("x")
            before = digest(data)
            one.with_name("1.mp4").rename(data / "val" / "real" / "1.mp4")
        case "name":
            one.rename(one.with_name("1.mp4"))
        case "content":
            one.write_text("a longer video")
        case "more":
            one.with_name("1.mp4").write_text("x")
    assert digest(data) != before
