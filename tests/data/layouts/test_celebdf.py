"""Celeb-DF: inverted labels, the official list, and people who are never in two splits."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import combinations, permutations
from pathlib import Path

import pytest

from istvt.data.layouts.celebdf import read_celebdf
from istvt.data.layouts.choose import LayoutOptions, read_layout
from istvt.data.layouts.hold_out import hold_out
from istvt.data.layouts.manifest import SPLITS, Label, Video
from istvt.errors import DataError, UsageError
from tests.data.layouts.trees import CELEBDF_LIST, touch

LIST = "List_of_testing_videos.txt"
LISTED = {line.split()[1] for line in CELEBDF_LIST.splitlines()}


def people(videos: Iterable[Video]) -> set[str]:
    return {person for video in videos for person in video.identities}


def names(data: Path, videos: Iterable[Video]) -> set[str]:
    return {video.path.relative_to(data).as_posix() for video in videos}


@pytest.mark.parametrize("seed", range(5))
def test_nobody_is_in_two_splits(celebdf: Path, seed: int) -> None:
    manifest = read_layout(celebdf, LayoutOptions(seed=seed), splits=SPLITS)
    parts = [people(manifest.of_split(split)) for split in SPLITS]
    assert all(a.isdisjoint(b) for a, b in combinations(parts, 2))
    for split in SPLITS:
        assert {video.label for video in manifest.of_split(split)} == set(Label)


def test_nothing_of_the_list_is_trained_on(celebdf: Path) -> None:
    manifest = read_celebdf(celebdf)
    for split in ("train", "val"):
        assert LISTED.isdisjoint(names(celebdf, manifest.of_split(split)))
    assert "YouTube-real/00001.mp4" in names(celebdf, manifest.of_split("test"))


def test_what_is_dropped_is_counted(celebdf: Path) -> None:
    manifest = read_celebdf(celebdf)
    everything = {path.relative_to(celebdf).as_posix() for path in celebdf.rglob("*.mp4")}
    dropped = everything - names(celebdf, manifest.videos)
    assert {one.kind: one.count for one in manifest.notes} == {
        "dropped-test-list": len(dropped & LISTED),
        "dropped-identity": len(dropped - LISTED),
        "held-out-by-files": 1,
    }
    assert 0 < len(dropped & LISTED) < len(dropped)


def test_nobody_changes_the_split_as_more_files_come(celebdf: Path) -> None:
    """The list names who is swapped with whom, so that the files that are there decide nothing."""
    circles = [[f"id{i}" for i in range(first, first + 4)] for first in (0, 4, 8)]
    pairs = [pair for circle in circles for pair in permutations(circle, 2)]
    fakes = [f"Celeb-synthesis/{a}_{b}_{i:04}.mp4" for a, b in pairs for i in range(4)]
    reals = [f"Celeb-real/id{i}_{j:04}.mp4" for i in range(12) for j in range(4)]
    listed = [f"0 {name}" for name in fakes[::4]] + [f"1 {name}" for name in reals[::4]]
    (celebdf / LIST).write_text("\n".join(listed))
    for path in celebdf.rglob("*.mp4"):
        path.unlink()
    few = touch(celebdf, [name for i, name in enumerate((*fakes, *reals)) if i % 4 in (1, 3)])
    for options in (LayoutOptions(), LayoutOptions(shared_identities="keep")):
        before = {v.path: v.split for v in read_layout(few, options).videos}
        assert set(SPLITS) - {"test"} <= set(before.values())
        more = ("Celeb-synthesis/id0_id5_0001.mp4", "Celeb-synthesis/id9_id2_0003.mp4")
        after = read_layout(touch(few, (*fakes[1::4], *reals, *more)), options)
        assert "held-out-by-files" not in {one.kind for one in after.notes}
        assert len(after.videos) > len(before)
        assert {v.path: v.split for v in after.videos if v.path in before} == before
        for name in (*fakes[1::4], *reals, *more):
            if name not in {p.relative_to(celebdf).as_posix() for p in before}:
                (celebdf / name).unlink()


def test_videos_of_unnamed_people_that_had_to_be_moved_are_told(celebdf: Path) -> None:
    for path in (celebdf / "YouTube-real").iterdir():
        if path.stem not in ("00002", "00003"):
            path.unlink()
    for options in (LayoutOptions(), LayoutOptions(shared_identities="keep")):
        told: set[str] = set()
        for seed in range(5):
            manifest = read_layout(celebdf, replace(options, seed=seed))
            moved = [one for one in manifest.notes if one.kind == "moved-group"]
            told.update(name for one in moved for name in one.examples)
        assert told == {"YouTube-real/00002", "YouTube-real/00003"}


def test_the_label_comes_from_the_folder(celebdf: Path) -> None:
    for video in read_celebdf(celebdf, shared_identities="keep").videos:
        assert (video.label is Label.FAKE) == (video.path.parent.name == "Celeb-synthesis")


def test_a_fake_names_target_donor_and_source(celebdf: Path) -> None:
    manifest = read_celebdf(celebdf, shared_identities="keep", splits=("test",))
    fake = next(v for v in manifest.videos if v.path.stem == "id1_id0_0001")
    assert fake.identities == ("id1", "id0")
    assert fake.source == celebdf / "Celeb-real/id1_0001.mp4"
    assert fake.method == "Celeb-synthesis"
    unnamed = next(v for v in manifest.videos if v.path.parent.name == "YouTube-real")
    assert (unnamed.identities, unnamed.source) == ((), None)


def test_keep_tests_on_the_official_list_and_says_whom_it_shares(celebdf: Path) -> None:
    manifest = read_layout(celebdf, LayoutOptions(shared_identities="keep"))
    assert names(celebdf, manifest.of_split("test")) == LISTED
    train, val = people(manifest.of_split("train")), people(manifest.of_split("val"))
    assert train.isdisjoint(val)
    assert val
    shared = people(manifest.of_split("test")) & (train | val)
    counts = {one.kind: one.count for one in manifest.notes}
    assert counts["shared-identity"] == len(shared) > 0


def test_keep_warns_whatever_split_is_asked_for(celebdf: Path) -> None:
    for splits in (("train", "val"), ("test",)):
        manifest = read_celebdf(celebdf, shared_identities="keep", splits=splits)
        assert manifest.notes[0].kind == "shared-identity"
        assert {video.split for video in manifest.videos} == set(splits)


def test_the_official_test_needs_no_training_videos(celebdf: Path) -> None:
    for path in celebdf.rglob("*.mp4"):
        if path.relative_to(celebdf).as_posix() not in LISTED:
            path.unlink()
    options = LayoutOptions(shared_identities="keep")
    assert len(read_layout(celebdf, options, splits=("test",)).videos) == len(LISTED)
    with pytest.raises(DataError, match="0 people in 0 videos are too few"):
        read_layout(celebdf, options, splits=("train", "test"))


def test_listed_videos_that_are_not_there_are_named(celebdf: Path) -> None:
    (celebdf / "YouTube-real/00001.mp4").unlink()
    touch(celebdf, ("Celeb-real/video 3.mp4", "Celeb-synthesis/notes.txt"))
    notes = {one.kind: one.examples for one in read_celebdf(celebdf).notes}
    assert notes["missing-video"] == ("YouTube-real/00001.mp4",)
    assert notes["unknown-file"] == ("Celeb-real/video 3.mp4", "Celeb-synthesis/notes.txt")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 Celeb-real/id0_0000.mp4", r"line 6 is .*Celeb-real holds REAL.*1 is REAL and 0"),
        ("1 Celeb-synthesis/id0_id1_0000.mp4", r"line 6 .*Celeb-synthesis holds FAKE"),
        ("1 real/id0_0000.mp4", r"line 6 .*expected 0 or 1, a space, and a file in Celeb-real"),
        ("YouTube-real/00000.mp4", r"line 6 .*expected 0 or 1"),
    ],
)
def test_a_wrong_line_is_named(celebdf: Path, line: str, message: str) -> None:
    (celebdf / LIST).write_text(CELEBDF_LIST + line + "\n")
    with pytest.raises(DataError, match=message):
        read_celebdf(celebdf)


def test_a_missing_list_says_what_it_looks_like(celebdf: Path) -> None:
    (celebdf / LIST).unlink()
    with pytest.raises(DataError, match=rf"{LIST} cannot be read .*1 YouTube-real/00170\.mp4"):
        read_layout(celebdf)


def test_an_unknown_way_is_refused(celebdf: Path) -> None:
    with pytest.raises(UsageError, match="expected drop or keep"):
        read_celebdf(celebdf, shared_identities="some")  # type: ignore[arg-type]


def circle(*names: str) -> list[Video]:
    fakes = [
        Video(Path(f"{a}_{b}"), Label.FAKE, "", (a, b)) for a in names for b in names if a != b
    ]
    return fakes + [Video(Path(name), Label.REAL, "", (name,)) for name in names]


def test_a_circle_is_held_out_as_a_whole() -> None:
    big, small = [f"a{i}" for i in range(16)], [f"b{i}" for i in range(4)]
    bridge = Video(Path("a0_b0"), Label.FAKE, "", ("a0", "b0"))
    for seed in range(5):
        assert hold_out([*circle(*big), *circle(*small), bridge], seed) == set(small)


def test_one_circle_is_cut() -> None:
    names = [f"a{i}" for i in range(20)]
    chosen = [hold_out(circle(*names), seed) for seed in range(5)]
    assert all(len(group) == 4 for group in chosen)  # of 10 to 20 %, the largest loses least
    assert len(set(chosen)) > 1


def test_nobody_is_held_out_where_a_label_would_be_missing() -> None:
    assert hold_out(circle("a", "b"), 0) == frozenset()
    reals = [Video(Path(name), Label.REAL, "", (name,)) for name in "abc"]
    assert len(hold_out(reals, 0)) == 1
