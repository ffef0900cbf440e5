"""Count a prepared data set by split, label and method, and format the counts as a table."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from istvt.data.layouts.manifest import SPLITS, Label
from istvt.data.prepared.folder import Prepared
from istvt.data.prepared.shards import VideoFaces, window_starts

COUNTS = ("videos", "faces", "tracks", "windows", "windowless")
HEADER = ("split", "label", "method", "videos", "faces", "tracks", "windows", "no window")


@dataclass(frozen=True)
class Part:
    """The counts for the videos of one split, label and method.

    Attributes:
        videos: of the manifest, read or not.
        tracks: faces that were tracked, each within one video.
        windows: all sliding windows of T faces.
        windowless: videos that give no window.
    """

    split: str
    label: Label
    method: str
    videos: int
    faces: int
    tracks: int
    windows: int
    windowless: int


def summarise(prepared: Prepared) -> tuple[Part, ...]:
    """Count by split, label and method, in this order."""
    of_part: dict[tuple[str, Label, str], list[VideoFaces | None]] = {}
    for entry in prepared.entries:
        video = entry.video
        part = of_part.setdefault((video.split, video.label, video.method), [])
        part.append(entry if isinstance(entry, VideoFaces) else None)
    parts = sorted(of_part, key=lambda part: (SPLITS.index(part[0]), *part[1:]))
    return tuple(_count(part, of_part[part], prepared.recipe.num_frames) for part in parts)


def format_parts(parts: Sequence[Part]) -> str:
    """Format the counts as a table, one line each, with their sums below."""
    rows = [HEADER, *(_row(part) for part in parts)]
    totals = (sum(getattr(part, name) for part in parts) for name in COUNTS)
    rows.append(("all", "", "", *(f"{total:,}" for total in totals)))
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join(_line(row, widths) for row in rows)


def _count(
    part: tuple[str, Label, str], found: Sequence[VideoFaces | None], num_frames: int
) -> Part:
    read = [faces for faces in found if faces is not None]
    windows = [len(window_starts(faces.runs, num_frames)) for faces in read]
    return Part(
        *part,
        videos=len(found),
        faces=sum(len(faces) for faces in read),
        tracks=sum(len(np.unique(faces.track_ids)) for faces in read),
        windows=sum(windows),
        windowless=len(found) - sum(count > 0 for count in windows),
    )


def _row(part: Part) -> tuple[str, ...]:
    counts = (f"{getattr(part, name):,}" for name in COUNTS)
    return part.split, part.label.name.lower(), part.method or "-", *counts


def _line(row: Iterable[str], widths: Sequence[int]) -> str:
    cells = zip(row, widths, strict=True)
    padded = (
        cell.ljust(width) if place < 3 else cell.rjust(width)
        for place, (cell, width) in enumerate(cells)
    )
    return "  ".join(padded).rstrip()
