"""Read a CSV of videos into a manifest: `path,label[,split,identity,method,source]`.

    path,label,split,identity,method,source
    real/000.mp4,real,train,000,,
    fakes/000_003.mp4,fake,train,000;003,Deepfakes,real/000.mp4

`label` is real or fake, or 0 or 1 (1 is fake). Several identities are joined by `;` or `+`. Paths
are relative to the CSV's folder.

Without a column `split`, the videos that share a person or a source form a group. A group is named
after its first person, else its first source. A hash of that name assigns groups to train, val and
test, 8 : 1 : 1 on average. A video that names nobody, and that no source ties to anybody, counts as
another person and is noted.
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from istvt.data.layouts.checks import note_shared, note_shared_names
from istvt.data.layouts.divide import divide, group_videos
from istvt.data.layouts.manifest import SPLITS, Manifest, Note, Video, in_order, note, parse_table
from istvt.data.layouts.scan import scan
from istvt.errors import DataError


def read_table(path: Path, *, seed: int = 0, splits: tuple[str, ...] = SPLITS) -> Manifest:
    """Read a CSV, make splits if it has none, and check which files exist.

    Args:
        path: the CSV.
        seed: another seed gives other splits.
        splits: the splits to read.

    Raises:
        DataError: names the line that is wrong, or no file exists.
    """
    listed, notes = parse_table(path)
    if not listed[0].split:
        listed, more = _divide(path, listed, seed)
        notes += more
    asked = [video for video in listed if video.split in splits]
    on_disk = _find({video.path for video in asked})
    missing = [video.path for video in asked if video.path not in on_disk]
    if asked and not on_disk:
        raise DataError(
            f"none of the {len(asked)} videos of {path} exists, such as {missing[0]}: paths are "
            f"relative to {path.parent}"
        )
    videos = in_order(video for video in asked if video.path in on_disk)
    notes += note_shared(listed, path.parent) + note("missing-video", missing)
    notes += note_shared_names([video for video in listed if not video.identities])
    return Manifest(path.parent, "csv", videos, notes)


def _divide(path: Path, videos: Sequence[Video], seed: int) -> tuple[list[Video], tuple[Note, ...]]:
    """Assign every group to a split."""
    groups = {_name(path.parent, group): group for group in group_videos(videos)}
    if len(groups) < len(SPLITS):
        raise DataError(
            f"{path} has no column `split`, and by identity and source its {len(videos)} videos "
            f"are {len(groups)} groups: {len(SPLITS)} are needed to keep people apart; add the "
            f"column, with {', '.join(SPLITS)}"
        )
    labels_of = {name: {video.label for video in group} for name, group in groups.items()}
    division = divide(labels_of, seed, splits=SPLITS)
    placed = [
        replace(v, split=division.split_of[name]) for name, group in groups.items() for v in group
    ]
    unnamed = [v for group in groups.values() if not _people(group) for v in group]
    notes = note("unnamed", (os.path.relpath(video.path, path.parent) for video in unnamed))
    return placed, notes + note("moved-group", division.moved)


def _name(root: Path, group: Sequence[Video]) -> str:
    """Name a group by people or sources that its members share, whatever folder the data is in."""
    people = {f"identity {person}" for person in _people(group)}
    return min(people or {f"path {os.path.relpath(v.source or v.path, root)}" for v in group})


def _people(group: Iterable[Video]) -> set[str]:
    return {person for video in group for person in video.identities}


def _find(paths: Iterable[Path]) -> set[Path]:
    """Return the files that exist, listing each folder once."""
    of_folder: dict[str, dict[str, Path]] = defaultdict(dict)
    for path in paths:
        folder, name = os.path.split(path)
        of_folder[folder][name] = path
    found: set[Path] = set()
    for folder, wanted in of_folder.items():
        listing = scan(Path(folder))
        found.update(wanted[name] for name in listing.videos if name in wanted)
        others = (wanted[name] for name in listing.others if name in wanted)
        found.update(path for path in others if path.is_file())  # excludes dangling links
    return found
