"""List labelled windows of T consecutive faces for training and evaluation."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from istvt.data.layouts.manifest import Label, Skipped, Video
from istvt.data.prepared.folder import Prepared, faults_of
from istvt.data.prepared.shards import Int32Array, LoadedFaces, VideoFaces, evenly, window_starts
from istvt.errors import DataError

SHOWN = 3  # faults in a message

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WindowRef:
    """A window's position: `num_frames` faces of one video from `start` on."""

    faces: VideoFaces
    start: int
    num_frames: int

    @property
    def video(self) -> Video:
        """The window's video."""
        return self.faces.video

    @property
    def label(self) -> int:
        """1 for fake."""
        return int(self.video.label)

    @property
    def rows(self) -> range:
        """The faces' positions among those of the video."""
        return range(self.start, self.start + self.num_frames)

    def load(self) -> LoadedFaces:
        """Read the faces."""
        return self.faces.load(self.rows)


@dataclass(frozen=True, eq=False)
class VideoWindows:
    """The windows of one video, in order; holds `(n,)` start positions, no objects."""

    faces: VideoFaces
    starts: Int32Array
    num_frames: int

    @property
    def video(self) -> Video:
        """The windows' video."""
        return self.faces.video

    @property
    def label(self) -> int:
        """1 for fake."""
        return int(self.video.label)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, position: int) -> WindowRef:
        return WindowRef(self.faces, int(self.starts[position]), self.num_frames)

    def __iter__(self) -> Iterator[WindowRef]:
        return (self[position] for position in range(len(self)))


@dataclass(frozen=True)
class SplitWindows:
    """The windows of a split by video, and the videos that gave none or too few, with reasons."""

    split: str
    videos: tuple[VideoWindows, ...]
    skipped: tuple[Skipped, ...]


def windows_in(prepared: Prepared, split: str, num_frames: int) -> SplitWindows:
    """List the windows of one split of a prepared folder."""
    entries = [entry for entry in prepared.entries if entry.video.split == split]
    found = [windows_of(faces, num_frames) for faces in entries if isinstance(faces, VideoFaces)]
    skipped = faults_of(entries, num_frames)
    windows = SplitWindows(split, tuple(one for one in found if len(one)), skipped)
    _check_labels(windows, {entry.video.label for entry in entries}, prepared.manifest.root)
    if skipped:
        reasons = "; ".join(f"{item.path}: {item.reason}" for item in skipped[:SHOWN])
        log.warning(
            "%s: %d of %d videos with faults: %s", split, len(skipped), len(entries), reasons
        )
    return windows


def windows_of(faces: VideoFaces, num_frames: int) -> VideoWindows:
    """List the windows of T consecutive sampled frames of one track; none spans a gap."""
    return VideoWindows(faces, window_starts(faces.runs, num_frames), num_frames)


def spread(windows: SplitWindows, per_video: int | None) -> list[WindowRef]:
    """Take up to `per_video` windows of each video, evenly spread; None uses all."""
    return [
        video[position]
        for video in windows.videos
        for position in evenly(len(video), per_video or len(video))
    ]


def _check_labels(windows: SplitWindows, listed: set[Label], data: Path) -> None:
    reasons = "; ".join(f"{item.path.name}: {item.reason}" for item in windows.skipped[:SHOWN])
    if not listed:
        raise DataError(f"{data} has no video in the split {windows.split}")
    for label in sorted(listed - {video.video.label for video in windows.videos}):
        raise DataError(
            f"no {label.name.lower()} video in {windows.split} of {data} gives a window of "
            f"consecutive faces ({len(windows.skipped)} skipped: {reasons})"
        )
