"""Crops of videos in, labelled windows of T crops out, ready for training and evaluation."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from istvt.data.augment import Augmentation, augment_window
from istvt.data.crops import CACHE_FOLDER, Progress, VideoCrops, read_crops
from istvt.data.layouts.folder import scan_folder
from istvt.data.manifest import Label, Skipped
from istvt.errors import DataError
from istvt.presets import ModelConfig
from istvt.runtime.window import WindowBuffer
from istvt.video.sampling import FrameSampler

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WindowRef:
    """Where a window lies: rows of one video's crops."""

    video: VideoCrops
    rows: tuple[int, ...]

    @property
    def label(self) -> int:
        """1 for fake."""
        return int(self.video.video.label)


@dataclass(frozen=True)
class SplitWindows:
    """The windows of a split, video by video, and what gave none or too few, with the reason."""

    split: str
    videos: tuple[tuple[WindowRef, ...], ...]
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
    crops, skipped = read_crops(
        videos,
        config,
        cache=cache or data / CACHE_FOLDER,
        max_frames=max_frames,
        progress=progress and (lambda stage, *counts: progress(f"{stage} in {split}", *counts)),
    )
    found = [(video, windows_of(video, config)) for video in crops]
    skipped += [
        Skipped(video.video.path, _why_none(video, config)) for video, refs in found if not refs
    ]
    windows = SplitWindows(split, tuple(refs for _, refs in found if refs), tuple(skipped))
    _check_classes(windows, data)
    if skipped:
        reasons = "; ".join(f"{item.path}: {item.reason}" for item in skipped[:5])
        log.warning(
            "%s: %d of %d videos with faults: %s", split, len(skipped), len(videos), reasons
        )
    return windows


def windows_of(video: VideoCrops, config: ModelConfig) -> tuple[WindowRef, ...]:
    """List the windows of T consecutive sampled frames of one track; none spans a gap."""
    sampler = FrameSampler(config.sampling)
    sampler.takes(0, 0.0)  # where a recording begins, and the clock with it
    buffers: dict[int, WindowBuffer[int]] = {}
    refs = []
    positions = zip(video.track_ids, video.indices, video.times_s, strict=True)
    for row, (track_id, index, time_s) in enumerate(positions):
        sampler.takes(index, time_s)
        buffer = buffers.setdefault(
            track_id,
            WindowBuffer(track_id, config.preset.num_frames, is_gap=sampler.is_gap),
        )
        window = buffer.push(row, index=index, time_s=time_s)
        if window is not None:
            refs.append(WindowRef(video, window.items))
    return tuple(refs)


def spread(windows: SplitWindows, per_video: int | None) -> list[WindowRef]:
    """Take up to `per_video` windows of each video, evenly spread; None takes all."""
    return [
        refs[position]
        for refs in windows.videos
        for position in _evenly(len(refs), per_video or len(refs))
    ]


def draw_balanced(
    windows: SplitWindows, per_video: int | None, *, rng: np.random.Generator
) -> list[WindowRef]:
    """Draw an epoch of windows in which real and fake take turns.

    Up to `per_video` windows are drawn of each video; the class that then has fewer starts anew
    until both have as many.
    """
    of_class: dict[int, list[WindowRef]] = {int(label): [] for label in Label}
    for refs in windows.videos:
        count = min(per_video or len(refs), len(refs))
        chosen = rng.choice(len(refs), count, replace=False)
        of_class[refs[0].label].extend(refs[position] for position in chosen)
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
        crops = ref.video.load(ref.rows)
        if self.augmentation is not None:
            rng = np.random.default_rng([*self.seed, position])
            crops = augment_window(crops, self.augmentation, rng=rng)
        return torch.from_numpy(crops), torch.tensor(float(ref.label))

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return (self[position] for position in range(len(self)))


def _evenly(count: int, wanted: int) -> list[int]:
    wanted = min(count, wanted)
    return [(2 * i + 1) * count // (2 * wanted) for i in range(wanted)]


def _why_none(video: VideoCrops, config: ModelConfig) -> str:
    if not video.indices:
        return f"no face in {video.frames_read} frames"
    return (
        f"no track of {config.preset.num_frames} consecutive frames: a face was found in "
        f"{len(video.indices)} of {video.frames_read}"
    )


def _check_classes(windows: SplitWindows, data: Path) -> None:
    present = {refs[0].label for refs in windows.videos}
    for label in Label:
        if int(label) not in present:
            reasons = "; ".join(f"{s.path.name}: {s.reason}" for s in windows.skipped[:3])
            raise DataError(
                f"no {label.name.lower()} video of {data / windows.split} gives a window of "
                f"consecutive faces ({len(windows.skipped)} skipped: {reasons})"
            )
