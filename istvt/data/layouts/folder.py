"""The plain layout in, labelled videos out: `{train,val,test}/{real,fake}/*.mp4`."""

import logging
from collections import Counter
from pathlib import Path

from istvt.data.manifest import SPLITS, Label, Video
from istvt.errors import DataError
from istvt.video.suffixes import VIDEO_SUFFIXES

LAYOUT = "{train,val,test}/{real,fake}/*.{mp4,avi,mov,...}"

log = logging.getLogger(__name__)


def scan_folder(folder: Path, *, splits: tuple[str, ...] = SPLITS) -> list[Video]:
    """List the videos of the asked splits, sorted by path.

    Raises:
        DataError: the folder, a split or a class is missing or holds no video.
    """
    videos = list_videos(folder, splits=splits)
    _warn_of_unknown(folder, splits)
    return videos


def list_videos(folder: Path, *, splits: tuple[str, ...] = SPLITS) -> list[Video]:
    """Do as `scan_folder`, without a warning of what is left out."""
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder: expected {LAYOUT} below it")
    return [
        video for split in splits for label in Label for video in _scan_class(folder, split, label)
    ]


def _scan_class(folder: Path, split: str, label: Label) -> list[Video]:
    part = folder / split / label.name.lower()
    if not part.is_dir():
        raise DataError(
            f"{part} is missing: expected {LAYOUT} below {folder}, found {_listing(folder)}"
        )
    paths = sorted(path for path in part.iterdir() if _is_video(path))
    if not paths:
        raise DataError(
            f"{part} holds no video: each class of each split needs at least one file of type "
            f"{', '.join(sorted(VIDEO_SUFFIXES))}"
        )
    return [Video(path, label, split) for path in paths]


def _is_video(path: Path) -> bool:
    hidden = path.name.startswith(".")
    return path.is_file() and not hidden and path.suffix.lower() in VIDEO_SUFFIXES


def _listing(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    return shown or "nothing"


def _warn_of_unknown(folder: Path, splits: tuple[str, ...]) -> None:
    """Name what a user may have expected to be read, such as a video one folder too deep."""
    for split in splits:
        for label in Label:
            part = folder / split / label.name.lower()
            unknown = Counter(
                "folders" if path.is_dir() else f"*{path.suffix or ' without suffix'}"
                for path in part.iterdir()
                if not path.name.startswith(".") and not _is_video(path)
            )
            if unknown:
                counts = ", ".join(f"{count} {kind}" for kind, count in sorted(unknown.items()))
                log.warning("%s: not videos, left out: %s", part, counts)
