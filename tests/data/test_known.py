"""The videos of a training, known again by what is in them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from istvt.data.known import (
    HEAD_BYTES,
    VIDEOS_FILE,
    describe_changes,
    digest_of,
    digest_video,
    list_videos,
    read_videos,
    write_videos,
)
from istvt.data.layouts.manifest import Label
from istvt.data.prepared.shards import VideoFaces
from istvt.data.windows.index import SplitWindows
from istvt.errors import WeightsError
from istvt.evaluation.overlap import find_overlap, format_overlap
from tests.data.faces import write_windows

SIZE_PX = 32


def make(root: Path, *, split: str = "train", seed: int = 0, names: str = "abcd") -> SplitWindows:
    """Videos with content of their own, and faces of their own."""
    rng, made = np.random.default_rng(seed), []
    for number, name in enumerate(names):
        path = root / split / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.bytes(300 + number))
        faces = rng.integers(0, 256, (5, SIZE_PX, SIZE_PX, 3), dtype=np.uint8)
        shards = root / "shards"
        shards.mkdir(exist_ok=True)
        made.append(
            write_windows(
                shards,
                path,
                faces,
                num_frames=3,
                label=Label(number % 2),
                split=split,
                method="swap" if number % 2 else "",
                identities=(f"{split} {name}",),
            )
        )
    return SplitWindows(split, tuple(made), ())


def changed(windows: SplitWindows, **facts: object) -> SplitWindows:
    """Change facts of the first video."""
    first, *rest = windows.videos
    video = replace(first.faces.video, **facts)
    return replace(windows, videos=(replace(first, faces=replace(first.faces, video=video)), *rest))


def faces_of(windows: SplitWindows) -> list[VideoFaces]:
    return [one.faces for one in windows.videos]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "set"


@pytest.fixture
def train(root: Path) -> SplitWindows:
    return make(root)


@pytest.fixture
def run(tmp_path: Path, root: Path, train: SplitWindows) -> Path:
    """A run that was trained on `train`, with a validation split of other videos."""
    folder = tmp_path / "run"
    write_videos(folder, list_videos([train, make(root, split="val", seed=1)], root))
    return folder


def changes(run: Path, root: Path, train: SplitWindows) -> str | None:
    known = [video for video in read_videos(run) or [] if video.split == "train"]
    return describe_changes(known, list_videos([train], root))


def test_the_digest_is_of_the_facts_and_not_of_their_order_or_place(
    root: Path, tmp_path: Path, train: SplitWindows
) -> None:
    before = digest_of(list_videos([train], root))
    backwards = replace(train, videos=train.videos[::-1])
    assert digest_of(list_videos([backwards], root)) == before
    root.rename(tmp_path / "moved")
    moved = make(tmp_path / "moved")
    assert digest_of(list_videos([moved], tmp_path / "moved")) == before


def test_a_root_that_is_named_from_here_is_the_same(
    root: Path, train: SplitWindows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root.parent)
    assert list_videos([train], Path("set")) == list_videos([train], root)
    assert list_videos([train], Path("set"))[0][0].path == "train/a.mp4"


def test_what_changes_the_windows_changes_the_digest(root: Path, train: SplitWindows) -> None:
    first = train.videos[0]
    others = [
        changed(train, label=Label.FAKE),
        changed(train, path=root / "train" / "other.mp4"),
        changed(train, method="other"),
        replace(train, split="val"),
        replace(train, videos=train.videos[1:]),
        replace(train, videos=(replace(first, starts=first.starts[1:]), *train.videos[1:])),
    ]
    digests = {digest_of(list_videos([one], root)) for one in (train, *others)}
    assert len(digests) == 1 + len(others)


def test_nothing_changes_where_dates_and_places_do(root: Path, run: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    root.rename(moved)
    again = make(moved)  # written anew, with other dates
    assert changes(run, moved, again) is None


def test_faces_alone_and_videos_alone_are_enough(
    root: Path, run: Path, train: SplitWindows
) -> None:
    for windows in train.videos:
        windows.faces.shard.write_bytes(b"cut by another machine")
    assert changes(run, root, train) is None
    make(root)  # the faces as they were
    for windows in train.videos:
        windows.video.path.unlink()
    assert changes(run, root, train) is None


def test_new_missing_and_changed_videos_are_counted(
    root: Path, run: Path, train: SplitWindows
) -> None:
    train.videos[1].faces.shard.write_bytes(b"others")
    train.videos[1].video.path.write_bytes(train.videos[1].video.path.read_bytes()[:-1] + b"x")
    train.videos[2].faces.shard.write_bytes(b"others")  # the video is as it was
    other = make(root.parent / "other", seed=2, names="xy").videos
    now = replace(changed(train, method="swapped"), videos=())
    now = replace(now, videos=(*changed(train, method="swapped").videos[:3], *other))
    told = changes(run, root, now)
    assert told is not None
    assert told.startswith("2 new (")
    assert told.endswith("1 missing (train/d.mp4), 2 changed (train/a.mp4, train/b.mp4)")


def test_a_damaged_list_is_named(run: Path) -> None:
    (run / VIDEOS_FILE).write_text('{"path": "a"}\n')
    with pytest.raises(WeightsError, match=r"videos\.jsonl is damaged"):
        read_videos(run)


def test_what_a_later_version_adds_is_left_out(run: Path) -> None:
    path, before = run / VIDEOS_FILE, read_videos(run)
    rows = [json.loads(line) | {"added": 1} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_videos(run) == before


def test_the_list_tells_how_far_it_is(root: Path, tmp_path: Path, train: SplitWindows) -> None:
    told: list[tuple[str, int, int]] = []
    write_videos(
        tmp_path / "run", list_videos([train], root), progress=lambda *one: told.append(one)
    )
    assert told == [("listing videos", done, 4) for done in (1, 2, 3, 4)]


def test_of_a_video_only_the_head_is_read(root: Path, run: Path, train: SplitWindows) -> None:
    path = train.videos[0].video.path
    long = bytes(HEAD_BYTES + 9)
    path.write_bytes(long)
    before = digest_video(train.videos[0].faces)
    path.write_bytes(long[:-1] + b"x")
    assert digest_video(train.videos[0].faces) == before
    path.write_bytes(b"x" + long[1:])
    assert digest_video(train.videos[0].faces) != before


def test_known_videos_are_found_under_other_names_and_splits(run: Path, tmp_path: Path) -> None:
    copies = make(tmp_path / "copies", split="test", names="abcdef")
    overlap = find_overlap(read_videos(run), faces_of(copies), tmp_path / "copies")
    assert overlap is not None
    known = {f"test/{name}.mp4": "train" for name in "abcd"}
    assert (overlap.videos, overlap.people, overlap.num_unseen) == (known, (), 0)
    lines = list(format_overlap(overlap, run, videos=6))
    assert lines[0].startswith(f"WARNING: of these 6 videos, {run} has 4 in its train")


def test_known_videos_are_found_by_either_file(run: Path, root: Path, train: SplitWindows) -> None:
    cut_anew, gone, new = faces_of(train)[:3]
    cut_anew.shard.write_bytes(b"cut by another machine")
    gone.video.path.unlink()
    for path in (new.shard, new.video.path):
        path.write_bytes(b"new" + path.read_bytes()[3:])  # of the same size
    overlap = find_overlap(read_videos(run), [cut_anew, gone, new], root)
    assert overlap is not None
    assert overlap.videos == {"train/a.mp4": "train", "train/b.mp4": "train"}
    assert overlap.num_unseen == 1
    told = list(format_overlap(overlap, run, videos=3))
    assert any("only as prepared faces: 1;" in line for line in told)


def test_people_of_the_training_are_found_in_new_videos(run: Path, tmp_path: Path) -> None:
    new = make(tmp_path / "new", split="test", seed=9)
    named = changed(new, identities=("train b", "nobody"))
    overlap = find_overlap(read_videos(run), faces_of(named), tmp_path / "new")
    assert overlap is not None
    assert (overlap.videos, overlap.people) == ({}, ("train b",))
    assert (
        f"names of people that are both here and in the data of {run}: 1; if both data sets mean"
        in next(format_overlap(overlap, run, videos=4))
    )


def test_what_is_all_new_is_told_nothing_of(run: Path, tmp_path: Path) -> None:
    new = make(tmp_path / "new", split="test", seed=9)
    overlap = find_overlap(read_videos(run), faces_of(new), tmp_path / "new")
    assert list(format_overlap(overlap, run, videos=4)) == []


def test_a_run_without_a_list_is_told_of(tmp_path: Path, train: SplitWindows) -> None:
    assert find_overlap(read_videos(tmp_path), faces_of(train), tmp_path) is None
    assert "it is unknown whether these are among them" in next(
        format_overlap(None, tmp_path, videos=4)
    )


def test_of_videos_of_other_sizes_nothing_is_read(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = make(tmp_path / "new", seed=5)
    for one in faces_of(new):
        one.video.path.write_bytes(bytes(HEAD_BYTES))
    monkeypatch.setattr("istvt.evaluation.overlap.digest_video", lambda _: pytest.fail("read"))
    find_overlap(read_videos(run), faces_of(new), tmp_path / "new")
