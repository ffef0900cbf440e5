"""The plain layout in, a manifest out: `{train,val,test}/{real,fake}/*.mp4`.

A folder below `fake` names the method that made what is in it: `train/fake/Deepfakes/*.mp4`. A
data set of real videos alone has no `fake` folders. People are not named.
"""

import logging
from pathlib import Path

from istvt.data.layouts.scan import scan
from istvt.data.manifest import SPLITS, Label, Manifest, Video, in_order, note
from istvt.errors import DataError

LAYOUT = "{train,val,test}/{real,fake}/*.{mp4,avi,mov,...}"

log = logging.getLogger(__name__)


def read_folder(data: Path, *, splits: tuple[str, ...] = SPLITS) -> Manifest:
    """Read the asked splits, as far as they are there.

    Raises:
        DataError: the folder is missing.
    """
    if not data.is_dir():
        raise DataError(f"{data} is not a folder: expected {LAYOUT} below it")
    videos: list[Video] = []
    unknown: list[Path] = []
    for split in splits:
        top = scan(data / split)
        classes = {label.name.lower() for label in Label}
        unknown += top.paths([*top.videos, *(name for name in top.folders if name not in classes)])
        for label in Label:
            found, left_out = _scan_class(data, split, label)
            videos += found
            unknown += left_out
    notes = note("unknown-file", (path.relative_to(data) for path in unknown))
    return Manifest(data, "folder", in_order(videos), notes)


def _scan_class(data: Path, split: str, label: Label) -> tuple[list[Video], list[Path]]:
    """List one class, and what is left out of it."""
    top = scan(data / split / label.name.lower())
    videos = [Video(path, label, split) for path in top.paths(top.videos)]
    unknown = top.paths(top.others)
    if label is Label.REAL:
        return videos, unknown + top.paths(top.folders)
    for method in top.folders:
        part = scan(top.folder / method)
        videos += [Video(path, label, split, method=method) for path in part.paths(part.videos)]
        unknown += part.paths([*part.others, *part.folders])
    return videos, unknown


def scan_folder(folder: Path, *, splits: tuple[str, ...] = SPLITS) -> list[Video]:
    """List the videos of the asked splits, sorted by path, and warn of what is left out.

    Raises:
        DataError: the folder, a split or a class is missing or holds no video.
    """
    videos = list_videos(folder, splits=splits)
    for one in read_folder(folder, splits=splits).notes:
        log.warning("%s: %s", folder, one)
    return videos


def list_videos(folder: Path, *, splits: tuple[str, ...] = SPLITS) -> list[Video]:
    """Do as `scan_folder`, without a warning of what is left out."""
    videos = read_folder(folder, splits=splits).videos
    present = {(video.split, video.label) for video in videos}
    for split in splits:
        for label in Label:
            if (split, label) not in present:
                raise _no_class(folder, split, label)
    return list(videos)


def _no_class(folder: Path, split: str, label: Label) -> DataError:
    part = folder / split / label.name.lower()
    if part.is_dir():
        return DataError(f"{part} holds no video: each class of each split needs at least one")
    return DataError(f"{part} is missing: expected {LAYOUT} below {folder}, found {scan(folder)}")
