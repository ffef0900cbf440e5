"""Faces of videos in, labelled windows of T of them out, ready for training and evaluation."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from istvt.data.augment import Augmentation, augment_window
from istvt.data.crops import Progress
from istvt.data.layouts.folder import scan_folder
from istvt.data.manifest import Label, Skipped, Video
from istvt.data.prepare import CACHE_FOLDER, read_crops
from istvt.data.runs import evenly, window_starts
from istvt.data.shards import Int32Array, LoadedFaces, VideoFaces
from istvt.errors import DataError
from istvt.presets import ModelConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WindowRef:
    """Where a window lies: `num_frames` faces of one video from `start` on."""

    faces: VideoFaces
    start: int
    num_frames: int

    @property
    def video(self) -> Video:
        """The video that it is of."""
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
    """The windows of one video, in order; holds `(n,)` places where they start, no objects."""

    faces: VideoFaces
    starts: Int32Array
    num_frames: int

    @property
    def video(self) -> Video:
        """The video that they are of."""
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
    """The windows of a split, video by video, and what gave none or too few, with the reason."""

    split: str
    videos: tuple[VideoWindows, ...]
    skipped: tuple[Skipped, ...]


def load_split(
    data: Path,
    split: str,
    config: ModelConfig,
    *,
    cache: Path | None = None,
    max_frames: int | None = None,
    progress: Progress | None = None,
) -> SplitWindows:
    """Read a split of a plain data folder.

    Args:
        data: laid out as `{train,val,test}/{real,fake}/*`.
        split: one of the three.
        config: fixes T, crop and sampling.
        cache: the folder of crops; None takes one inside `data`.
        max_frames: sampled frames read from each video; None reads all.
        progress: told ("faces in SPLIT", videos done, videos).

    Raises:
        DataError: the layout is wrong, or a class is left without a window.
    """
    videos = scan_folder(data, splits=(split,))
    read, skipped = read_crops(
        videos,
        config,
        cache=cache or data / CACHE_FOLDER,
        max_frames=max_frames,
        progress=progress and (lambda stage, *counts: progress(f"{stage} in {split}", *counts)),
    )
    found = [windows_of(faces, config.preset.num_frames) for faces in read]
    skipped += [
        Skipped(windows.video.path, _why_none(windows)) for windows in found if not len(windows)
    ]
    windows = SplitWindows(split, tuple(one for one in found if len(one)), tuple(skipped))
    _check_classes(windows, data)
    if skipped:
        reasons = "; ".join(f"{item.path}: {item.reason}" for item in skipped[:5])
        log.warning(
            "%s: %d of %d videos with faults: %s", split, len(skipped), len(videos), reasons
        )
    return windows


def windows_of(faces: VideoFaces, num_frames: int) -> VideoWindows:
    """List the windows of T consecutive sampled frames of one track; none spans a gap."""
    return VideoWindows(faces, window_starts(faces.runs, num_frames), num_frames)


def spread(windows: SplitWindows, per_video: int | None) -> list[WindowRef]:
    """Take up to `per_video` windows of each video, evenly spread; None takes all."""
    return [
        video[position]
        for video in windows.videos
        for position in evenly(len(video), per_video or len(video))
    ]


def draw_balanced(
    windows: SplitWindows, per_video: int | None, *, rng: np.random.Generator
) -> list[WindowRef]:
    """Draw an epoch of windows in which real and fake take turns.

    Up to `per_video` windows are drawn of each video; the class that then has fewer starts anew
    until both have as many.
    """
    of_class: dict[int, list[WindowRef]] = {int(label): [] for label in Label}
    for video in windows.videos:
        count = min(per_video or len(video), len(video))
        chosen = rng.choice(len(video), count, replace=False)
        of_class[video.label].extend(video[int(position)] for position in chosen)
    shuffled = {
        label: [refs[i] for i in rng.permutation(len(refs))] for label, refs in of_class.items()
    }
    longest = max(len(refs) for refs in shuffled.values())
    return [refs[i % len(refs)] for i in range(longest) for refs in shuffled.values()]


class WindowDataset(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Windows `(T, S, S, 3)` uint8 with their label, a float of 0 or 1.

    Args:
        refs: which windows, in order.
        augmentation: None leaves them as they are.
        seed: with a window's position it fixes the window's change.
    """

    def __init__(
        self,
        refs: Sequence[WindowRef],
        *,
        augmentation: Augmentation | None = None,
        seed: Sequence[int] = (0,),
    ) -> None:
        self.refs, self.augmentation, self.seed = refs, augmentation, tuple(seed)

    def __len__(self) -> int:
        return len(self.refs)

    def __getitem__(self, position: int) -> tuple[torch.Tensor, torch.Tensor]:
        ref = self.refs[position]
        crops = ref.load().images
        if self.augmentation is not None:
            rng = np.random.default_rng([*self.seed, position])
            crops = augment_window(crops, self.augmentation, rng=rng)
        return torch.from_numpy(crops), torch.tensor(float(ref.label))

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return (self[position] for position in range(len(self)))


def _why_none(windows: VideoWindows) -> str:
    faces = windows.faces
    if not len(faces):
        return f"no face in {faces.frames_read} frames"
    return (
        f"no track of {windows.num_frames} consecutive frames: a face was found in "
        f"{len(faces)} of {faces.frames_read}"
    )


def _check_classes(windows: SplitWindows, data: Path) -> None:
    present = {video.label for video in windows.videos}
    for label in Label:
        if int(label) not in present:
            reasons = "; ".join(f"{s.path.name}: {s.reason}" for s in windows.skipped[:3])
            raise DataError(
                f"no {label.name.lower()} video of {data / windows.split} gives a window of "
                f"consecutive faces ({len(windows.skipped)} skipped: {reasons})"
            )
