"""What identifies a data folder, and what its splits may not share."""

from pathlib import Path

import pytest

from istvt.data.layouts.folder import list_videos
from istvt.data.manifest import Label, Video
from istvt.errors import DataError
from istvt.training.provenance import (
    COMPARED_BYTES,
    describe_data,
    refuse_copies,
    shared_identities,
)

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


def test_a_copy_in_another_split_is_refused(data: Path) -> None:
    (data / "val" / "real" / "other_name.mp4").write_text("train fake")
    with pytest.raises(DataError, match=r"1 videos .*train/fake/0\.mp4 = .*other_name\.mp4"):
        refuse_copies(list_videos(data, splits=SPLITS))


def test_only_the_same_size_and_start_are_a_copy(data: Path) -> None:
    (data / "train" / "real" / "a.mp4").write_bytes(b"a" * (COMPARED_BYTES + 9))
    (data / "val" / "real" / "a.mp4").write_bytes(b"b" * (COMPARED_BYTES + 9))
    (data / "val" / "real" / "b.mp4").write_bytes(b"a" * (COMPARED_BYTES + 8))
    (data / "train" / "fake" / "same.mp4").write_text("train real")  # in the same split
    for split in SPLITS:
        (data / split / "real" / "empty.mp4").touch()
    refuse_copies(list_videos(data, splits=SPLITS))


def test_people_in_two_splits_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    names = {"train": ("000", "000_003", "005", "0007", "take_009"), "val": ("003_010", "0007")}
    videos = [
        Video(Path(split) / f"{name}.mp4", Label.FAKE, split)
        for split, its in names.items()
        for name in its
    ]
    assert shared_identities(videos) == ("003",)
    assert "1 identities are in more than one split" in caplog.text
    assert shared_identities(videos[:5]) == ()
