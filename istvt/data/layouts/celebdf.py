"""Read Celeb-DF (v2) into a manifest.

    Celeb-real/id0_0000.mp4             person, number
    Celeb-synthesis/id0_id1_0000.mp4    target (whose video it is), donor (whose face it gets)
    YouTube-real/00000.mp4              other people, not named
    List_of_testing_videos.txt          "1 YouTube-real/00170.mp4": here 1 is REAL

The official test list shows nearly everybody in the data set. Training on the rest therefore knows
the faces it is tested on. Without those people hardly any fakes remain. So there are two modes:

- `drop`: people are held out for val and for test. The test split holds every video that shows only
  people held out for it, and the list's videos of YouTube-real. The list's videos of all other
  people are left out, so training never sees them. Fakes that join two splits are left out too.
- `keep`: the test split is the official list, as in published figures. Nothing shared with it is
  left out, and a note counts the shared people. Val is still held out from train by person.

The swaps in the test list decide who is held out. The list comes with the data set and shows who
is swapped with whom, so the split stays the same as more files arrive. Drawing people by the hash
of their name would tear circles of swapped people apart and cost most of the fakes. If the list
yields nobody, or too few of their files are present, the files decide, with a note.

Source: Li et al., Celeb-DF, CVPR 2020.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from istvt.data.layouts.checks import note_shared
from istvt.data.layouts.divide import divide
from istvt.data.layouts.hold_out import hold_out, parts_have_labels
from istvt.data.layouts.manifest import SPLITS, Label, Manifest, Note, Video, in_order, note
from istvt.data.layouts.scan import scan
from istvt.errors import DataError, UsageError

SharedIdentities = Literal["drop", "keep"]

TEST_LIST = "List_of_testing_videos.txt"
FAKE_FOLDER = "Celeb-synthesis"
LABELS = {"Celeb-real": Label.REAL, FAKE_FOLDER: Label.FAKE, "YouTube-real": Label.REAL}
NAMES = {
    "Celeb-real": re.compile(r"(id\d+)_\d+"),
    FAKE_FOLDER: re.compile(r"(id\d+)_(id\d+)_\d+"),
    "YouTube-real": re.compile(r"\d+"),
}
LINE = re.compile(rf"([01])\s+(({'|'.join(LABELS)})/[^/\s]+)")
_REAL_IN_LIST = "1"


def read_celebdf(
    data: Path,
    *,
    seed: int = 0,
    shared_identities: SharedIdentities = "drop",
    splits: tuple[str, ...] = SPLITS,
) -> Manifest:
    """Read the official test list and split the rest by people, or split all by people.

    Args:
        data: the folder that holds `Celeb-real`.
        seed: another seed may hold out other people.
        shared_identities: what to do with people who would be in two splits, see above.
        splits: the splits to read.

    Raises:
        DataError: the test list is missing or wrong, or there are too few people to hold some out.
    """
    if shared_identities not in ("drop", "keep"):
        raise UsageError(f"shared_identities is {shared_identities!r}, expected drop or keep")
    videos, unknown = _list_videos(data)
    listed = _read_list(data / TEST_LIST)
    missing = listed - {video.path for video in videos}
    if shared_identities == "drop":
        placed, chosen = _split_people(videos, listed, seed)
    else:
        placed, chosen = _split_officially(videos, listed, seed, splits)
    dropped = {video.path for video in videos} - {video.path for video in placed}
    notes = (
        *(note_shared(placed, data) if shared_identities == "keep" else ()),
        *note("missing-video", (path.relative_to(data) for path in missing)),
        *note("unknown-file", (path.relative_to(data) for path in unknown)),
        *note("dropped-test-list", (path.relative_to(data) for path in dropped & listed)),
        *note("dropped-identity", (path.relative_to(data) for path in dropped - listed)),
        *chosen,
    )
    return Manifest(data, "celebdf", in_order(v for v in placed if v.split in splits), notes)


def _list_videos(data: Path) -> tuple[list[Video], list[Path]]:
    """List the videos, still without a split, and the files whose names do not match."""
    videos, unknown = [], []
    for folder in LABELS:
        part = scan(data / folder)
        unknown += part.paths(part.others + part.folders)
        known = [_parse(path) for path in part.paths(part.videos)]
        videos += [video for video in known if video is not None]
        unknown += [p for p, v in zip(part.paths(part.videos), known, strict=True) if v is None]
    return _with_sources(videos, data / "Celeb-real"), unknown


def _parse(path: Path) -> Video | None:
    """Read a video's label and people from its name; None where the name does not match."""
    label = LABELS[path.parent.name]
    name = NAMES[path.parent.name].fullmatch(path.stem)
    method = FAKE_FOLDER if label is Label.FAKE else ""
    return None if name is None else Video(path, label, "", name.groups(), method)


def _with_sources(videos: Sequence[Video], real: Path) -> list[Video]:
    """Point each fake to its target's video: `id0_id1_0000` was made from `id0_0000`."""
    known = {video.path.stem: video.path for video in videos if video.path.parent == real}
    return [
        video
        if video.label is Label.REAL
        else replace(video, source=known.get(re.sub("_id[0-9]+", "", video.path.stem)))
        for video in videos
    ]


def _read_list(path: Path) -> set[Path]:
    """Read the test list; its 1 is REAL, and must agree with the folder."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read ({error}): it comes with the data set, one video a line, as "
            "in `1 YouTube-real/00170.mp4`, where 1 is REAL"
        ) from error
    listed: set[Path] = set()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        found = LINE.fullmatch(line.strip())
        if found is None:
            raise DataError(
                f"{path}, line {number} is {line!r}: expected 0 or 1, a space, and a file in "
                f"{', '.join(LABELS)}"
            )
        is_real = LABELS[found[3]] is Label.REAL
        if is_real != (found[1] == _REAL_IN_LIST):
            raise DataError(
                f"{path}, line {number} is {line!r}, but {found[3]} holds "
                f"{LABELS[found[3]].name} videos: in this list 1 is REAL and 0 is FAKE"
            )
        listed.add(path.parent / found[2])
    return listed


def _split_people(
    videos: Sequence[Video], listed: Collection[Path], seed: int
) -> tuple[list[Video], tuple[Note, ...]]:
    """Hold people out for test and for val; leave out a video that fits no split."""
    named = [video for video in videos if video.identities]
    test = _hold_out(named, listed, seed, "test")
    free = [v for v in named if v.path not in listed and test.people.isdisjoint(v.identities)]
    val = _hold_out(free, listed, seed, "val", besides=test.people)
    placed = [replace(v, split="test") for v in named if test.people.issuperset(v.identities)]
    unnamed, moved = _split_unnamed(videos, listed, seed)
    return placed + _split_rest(free, val.people) + unnamed, (*_note_choices(test, val), *moved)


def _split_officially(
    videos: Sequence[Video], listed: Collection[Path], seed: int, splits: Collection[str]
) -> tuple[list[Video], tuple[Note, ...]]:
    """Use the official list as test, and hold out people only for val."""
    placed = [replace(v, split="test") for v in videos if v.identities and v.path in listed]
    unnamed, moved = _split_unnamed(videos, listed, seed)
    placed += unnamed
    free = [video for video in videos if video.identities and video.path not in listed]
    if set(splits) <= {"test"}:
        return placed + [replace(video, split="train") for video in free], ()
    val = _hold_out(free, listed, seed, "val")
    return placed + _split_rest(free, val.people), (*_note_choices(val), *moved)


def _split_rest(videos: Sequence[Video], val: frozenset[str]) -> list[Video]:
    inside = [replace(v, split="val") for v in videos if val.issuperset(v.identities)]
    return inside + [replace(v, split="train") for v in videos if val.isdisjoint(v.identities)]


def _split_unnamed(
    videos: Sequence[Video], listed: Collection[Path], seed: int
) -> tuple[list[Video], tuple[Note, ...]]:
    """Place the videos of YouTube-real, each of which shows another person."""
    unnamed = [video for video in videos if not video.identities]
    free = {video.path.stem: (video.label,) for video in unnamed if video.path not in listed}
    division = divide(free, seed, splits=("train", "val"))
    placed = [
        replace(v, split="test" if v.path in listed else division.split_of[v.path.stem])
        for v in unnamed
    ]
    return placed, note("moved-group", (f"YouTube-real/{name}" for name in division.moved))


@dataclass(frozen=True)
class _HeldOut:
    """People of a split, and whether the list gave them."""

    people: frozenset[str]
    split: str
    is_by_list: bool


def _note_choices(*chosen: _HeldOut) -> tuple[Note, ...]:
    return note("held-out-by-files", (one.split for one in chosen if not one.is_by_list))


def _hold_out(
    videos: Sequence[Video],
    listed: Iterable[Path],
    seed: int,
    split: str,
    *,
    besides: frozenset[str] = frozenset(),
) -> _HeldOut:
    """Choose people by the test list, or else by the videos to be split.

    The people in `besides` are held out already.
    """
    parsed = (_parse(path) for path in sorted(listed))
    on_list = [v for v in parsed if v and v.identities and besides.isdisjoint(v.identities)]
    people = hold_out(on_list, seed)
    if people and parts_have_labels(videos, people):
        return _HeldOut(people, split, is_by_list=True)
    people = hold_out(videos, seed)
    if not people:
        count = len({person for video in videos for person in video.identities})
        raise DataError(
            f"{count} people in {len(videos)} videos are too few, or too mixed, to hold some out "
            f"for {split} with real and fake videos of them alone: add more of the data set, "
            "or use a CSV with your own splits"
        )
    return _HeldOut(people, split, is_by_list=False)
