"""List a folder's videos, subfolders and other files by name, without opening any."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from istvt.video.source import VIDEO_SUFFIXES

SHOWN = 6


@dataclass(frozen=True)
class Listing:
    """The direct content of a folder, each list sorted by name; hidden names are skipped."""

    folder: Path
    videos: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    def paths(self, names: Iterable[str]) -> list[Path]:
        """Return paths for names."""
        return [self.folder / name for name in names]

    def __str__(self) -> str:
        names = sorted((*self.videos, *self.folders, *self.others))
        shown = ", ".join(names[:SHOWN])
        return (
            shown + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "") or "nothing"
        )


def scan(folder: Path) -> Listing:
    """List a folder; a missing folder counts as empty."""
    if not folder.is_dir():
        return Listing(folder)
    videos, folders, others = [], [], []
    with os.scandir(folder) as entries:  # recognises folders without a stat of each file
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                folders.append(entry.name)
            elif os.path.splitext(entry.name)[1].lower() in VIDEO_SUFFIXES and entry.is_file():  # noqa: PTH122
                videos.append(entry.name)
            else:
                others.append(entry.name)
    return Listing(folder, *(tuple(sorted(names)) for names in (videos, folders, others)))
