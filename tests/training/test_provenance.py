"""What identifies the data of a training."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from istvt.data.layouts.choose import LayoutOptions
from istvt.data.manifest import Label
from istvt.data.windows import SplitWindows, VideoWindows
from istvt.training.provenance import DataFacts, digest_of
from tests.training.runs import make_split


@pytest.fixture
def train(tmp_path: Path) -> SplitWindows:
    return make_split(tmp_path, "train", videos=4)


def changed(windows: SplitWindows, **facts: object) -> SplitWindows:
    """Change facts of the first video."""
    first, *rest = windows.videos
    video = replace(first.faces.video, **facts)
    return replace(windows, videos=(replace(first, faces=replace(first.faces, video=video)), *rest))


def test_the_digest_is_of_the_windows_and_not_of_their_order_or_place(
    train: SplitWindows, tmp_path: Path
) -> None:
    before = digest_of(Path("train"), [train])
    backwards = replace(train, videos=train.videos[::-1])
    assert digest_of(Path("train"), [backwards]) == before
    moved = train
    for _ in train.videos:
        first, *rest = moved.videos
        path = Path("elsewhere") / first.video.path.relative_to("train")
        moved = changed(moved, path=path)
        moved = replace(moved, videos=(*rest, moved.videos[0]))
    assert digest_of(Path("elsewhere"), [moved]) == before


def test_the_digest_changes_with_the_videos(train: SplitWindows) -> None:
    first: VideoWindows = train.videos[0]
    fewer = replace(train, videos=(replace(first, starts=first.starts[1:]), *train.videos[1:]))
    others = [
        changed(train, label=Label.FAKE),
        changed(train, path=Path("train/other.mp4")),
        replace(train, split="val"),
        replace(train, videos=train.videos[1:]),
        fewer,
    ]
    digests = {digest_of(Path("train"), [windows]) for windows in (train, *others)}
    assert len(digests) == 1 + len(others)


def test_facts_survive_json() -> None:
    facts = DataFacts("data", 9, LayoutOptions("ffpp", methods=("Deepfakes",)), "0" * 64)
    assert DataFacts.from_dict(json.loads(json.dumps(asdict(facts)))) == facts
