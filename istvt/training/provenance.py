"""The windows of a data set in, what identifies them out."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from istvt.data.layouts.choose import DEFAULT, LayoutOptions
from istvt.data.manifest import Video
from istvt.data.windows import SplitWindows


@dataclass(frozen=True)
class DataFacts:
    """What a training was given; a resumed one goes on with the same.

    Attributes:
        folder: resolved.
        max_frames: sampled frames read of each video; None is all.
        layout: how the folder was read.
        windows_sha256: of the videos' paths in it, labels, splits, frames and windows; empty before
            they are read.
    """

    folder: str
    max_frames: int | None = None
    layout: LayoutOptions = DEFAULT
    windows_sha256: str = ""

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "DataFacts":
        """Read what `asdict` and JSON made of it."""
        layout = dict(values["layout"])
        if layout["methods"] is not None:
            layout["methods"] = tuple(layout["methods"])
        return cls(**{**values, "layout": LayoutOptions(**layout)})


def digest_of(folder: Path, splits: Sequence[SplitWindows]) -> str:
    """Sum up the windows of a data folder; it may be moved, the crops themselves are not read."""
    rows = [
        (
            _shown(video.video, folder),
            int(video.label),
            windows.split,
            video.faces.frames_read,
            len(video),
        )
        for windows in splits
        for video in windows.videos
    ]
    return hashlib.sha256(json.dumps(sorted(rows)).encode()).hexdigest()


def _shown(video: Video, folder: Path) -> str:
    path = video.path
    return (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()
