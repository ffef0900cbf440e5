"""A CSV of videos in, a manifest out: `path,label[,split,identity,method,source]`.

    path,label,split,identity,method,source
    real/000.mp4,real,train,000,,
    fakes/000_003.mp4,fake,train,000;003,Deepfakes,real/000.mp4

`label` is real or fake, or 0 or 1 (1 is fake); several identities are joined by `;` or `+`; paths
are relative to the CSV's folder. Without a column `split`, the videos that share a person or a
source form a group; groups go to train, val and test 8 : 1 : 1 in the order of a hash, those with
both labels, with real and with fake videos alone apart, so that each split gets of each.
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from istvt.data.checks import note_shared
from istvt.data.layouts.divide import group_videos, split_alike
from istvt.data.layouts.scan import scan
from istvt.data.manifest import SPLITS, Manifest, Video, in_order, note, parse_table
from istvt.errors import DataError


def read_table(path: Path, *, seed: int = 0, splits: tuple[str, ...] = SPLITS) -> Manifest:
    """Read a CSV, make splits where it has none, and look which files are there.

    Args:
        path: the CSV.
        seed: another one gives other splits.
        splits: which to read.

    Raises:
        DataError: names the line that is wrong, or no file is there.
    """
    listed, notes = parse_table(path)
    if not listed[0].split:
        listed = _divide(path, listed, seed)
    asked = [video for video in listed if video.split in splits]
    on_disk = _find({video.path for video in asked})
    missing = [video.path for video in asked if video.path not in on_disk]
    if asked and not on_disk:
        raise DataError(
            f"none of the {len(asked)} videos of {path} is there, such as {missing[0]}: paths are "
            f"relative to {path.parent}"
        )
    videos = in_order(video for video in asked if video.path in on_disk)
    notes += note_shared(listed, path.parent) + note("missing-video", missing)
    return Manifest(path.parent, "csv", videos, notes)


def _divide(path: Path, videos: Sequence[Video], seed: int) -> list[Video]:
    """Give every group a split."""
    groups = {_name(path.parent, group): group for group in group_videos(videos)}
    if len(groups) < len(SPLITS):
        raise DataError(
            f"{path} has no column `split`, and by identity and source its {len(videos)} videos "
            f"are {len(groups)} groups: {len(SPLITS)} are needed to keep people apart; add the "
            f"column, with {', '.join(SPLITS)}"
        )
    labels = {name: frozenset(video.label for video in group) for name, group in groups.items()}
    split_of = split_alike(labels, seed, splits=SPLITS)
    return [replace(v, split=split_of[name]) for name, group in groups.items() for v in group]


def _name(root: Path, group: Sequence[Video]) -> str:
    """Name a group by its first video, so that it does not depend on where the data lies."""
    return min(os.path.relpath(video.path, root) for video in group)


def _find(paths: Iterable[Path]) -> set[Path]:
    """List which of the files are there, one look at each folder."""
    of_folder: dict[str, dict[str, Path]] = defaultdict(dict)
    for path in paths:
        folder, name = os.path.split(path)
        of_folder[folder][name] = path
    found: set[Path] = set()
    for folder, wanted in of_folder.items():
        listing = scan(Path(folder))
        found.update(wanted[name] for name in listing.videos if name in wanted)
        others = (wanted[name] for name in listing.others if name in wanted)
        found.update(path for path in others if path.is_file())  # and no link to nowhere
    return found
