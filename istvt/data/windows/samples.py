"""Draw the samples of an epoch or a validation from the windows of a split.

An epoch consists of pairs: real at 2i, fake at 2i + 1. A self-blended fake is made from its pair's
real window at reading time. Both windows then share the crops from the same file, the target (see
`blend`) and the augmentation. They differ by the blend alone.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from istvt.data.layouts.manifest import Label
from istvt.data.synthetic.blend import SUBTLE_BLEND, BlendedWindow, SelfBlend, blend_window
from istvt.data.windows.augment import (
    NO_AUGMENTATION,
    Augmentation,
    WindowChange,
    apply_change,
    apply_to_masks,
    draw_change,
)
from istvt.data.windows.index import SplitWindows, VideoWindows, WindowRef, spread
from istvt.errors import DataError, UsageError
from istvt.records import Fakes, FloatArray, UInt8Array

BLEND_DRAWS, CHANGE_DRAWS = 1, 2  # separate random numbers, so that neither affects the other


@dataclass(frozen=True)
class Sample:
    """One window of an epoch, and how to use it.

    Attributes:
        ref: the window to read.
        pair: fixes blend and augmentation, with the data set's seed; both of a pair share it.
        is_blended: the window becomes a fake.
        is_target: the window stays real, but its partner is blended into it.
    """

    ref: WindowRef
    pair: int
    is_blended: bool = False
    is_target: bool = False

    @property
    def label(self) -> int:
        """1 for fake."""
        return int(Label.FAKE) if self.is_blended else self.ref.label

    @property
    def video_key(self) -> str:
        """The name that a video's windows share; a video and its blends have two."""
        return f"{self.ref.video.path}{' (self-blended)' if self.is_blended else ''}"


def draw_epoch(
    windows: SplitWindows,
    per_video: int | None,
    *,
    fakes: Fakes = "real",
    blended_share: float = 0.5,
    rng: np.random.Generator,
) -> list[Sample]:
    """Draw pairs of a real and a fake window.

    Up to `per_video` windows of each video are drawn at random. There are as many pairs as windows
    of the larger class. The smaller class is drawn again until it has as many. Fake videos
    alternate by method.

    Args:
        windows: of the training split.
        per_video: None uses all.
        fakes: "real" takes the data's fakes; "self-blended" blends each from its pair's real
            window and ignores the data's fakes; "mixed" takes either.
        blended_share: the probability that a fake of "mixed" is self-blended.
        rng: the source of all draws; its state fixes the epoch.

    Returns:
        Real and fake samples alternating; the two of a pair are adjacent.

    Raises:
        DataError: there is no real video, or no fake video where one is needed.
        UsageError: an argument is out of range.
    """
    _check(per_video, blended_share)
    reals, by_method = _real_videos(windows), _fake_videos(windows, needed=fakes != "self-blended")
    found = [video for videos in by_method for video in videos]
    count = max(
        _count(reals, per_video), 0 if fakes == "self-blended" else _count(found, per_video)
    )
    share = {"real": 0.0, "self-blended": 1.0, "mixed": blended_share}[fakes]
    is_blended = rng.random(count) < share
    drawn = iter(_draw_by_method(by_method, per_video, int((~is_blended).sum()), rng))
    samples: list[Sample] = []
    for pair, ref in enumerate(_draw(reals, per_video, count, rng)):
        blends = bool(is_blended[pair])
        samples.append(Sample(ref, pair, is_target=blends))
        samples.append(Sample(ref, pair, is_blended=True) if blends else Sample(next(drawn), pair))
    return samples


def held_out_samples(
    windows: SplitWindows, per_video: int | None, *, fakes: Fakes = "real"
) -> list[Sample]:
    """List the samples of an evaluation: up to `per_video` windows of each video, evenly spread.

    Args:
        windows: of a split for validation or test.
        per_video: None uses all.
        fakes: "real" and "mixed" take the data's fakes, the only ones that represent others. With
            "self-blended", each real window comes with a blend of it, as in an epoch, and no fakes
            of the data.

    Raises:
        DataError: there is no real video, or no fake video where one is needed.
        UsageError: an argument is out of range.
    """
    _check(per_video)
    reals = _real_videos(windows)
    if fakes != "self-blended":
        _fake_videos(windows, needed=True)
        return [Sample(ref, pair) for pair, ref in enumerate(spread(windows, per_video))]
    only = SplitWindows(windows.split, tuple(reals), windows.skipped)
    return [
        sample
        for pair, ref in enumerate(spread(only, per_video))
        for sample in (Sample(ref, pair, is_target=True), Sample(ref, pair, is_blended=True))
    ]


class WindowDataset(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Windows `(T, S, S, 3)` uint8 with their label, a float of 0 or 1.

    An item depends only on its sample and the seed, not on its position or its reader.

    Args:
        samples: the windows, in order.
        augmentation: None changes nothing.
        blend: the ranges of self-blended fakes; its seed is not used.
        seed: fixes everything drawn, with a sample's pair.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        *,
        augmentation: Augmentation | None = None,
        blend: SelfBlend | None = None,
        seed: Sequence[int] = (0,),
    ) -> None:
        self.samples, self.seed = samples, tuple(seed)
        self.augmentation = augmentation or NO_AUGMENTATION
        self.blend = blend or SUBTLE_BLEND
        self._last: tuple[tuple[WindowRef, int], BlendedWindow] | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, position: int) -> tuple[torch.Tensor, torch.Tensor]:
        sample = self.samples[position]
        images, _ = self._read(sample)
        faces = apply_change(images, self._change(sample))
        return torch.from_numpy(faces), torch.tensor(float(sample.label))

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return (self[position] for position in range(len(self)))

    def load_masks(self, position: int) -> FloatArray | None:
        """Return the share of the blended-in face in each pixel of an item's frames.

        Returns:
            `(T, S, S)` float32: 0 everywhere for a real window; None for a fake of the data, whose
            fake pixels are unknown.
        """
        sample = self.samples[position]
        images, masks = self._read(sample)
        if masks is not None:
            return apply_to_masks(masks, self._change(sample))
        return None if sample.label else np.zeros(images.shape[:3], np.float32)

    def _read(self, sample: Sample) -> tuple[UInt8Array, FloatArray | None]:
        if not (sample.is_blended or sample.is_target):
            return sample.ref.load().images, None
        blended = self._blended(sample)
        return (blended.fakes, blended.masks) if sample.is_blended else (blended.targets, None)

    def _blended(self, sample: Sample) -> BlendedWindow:
        """Make a pair only once: its two samples are read one after the other."""
        key = (sample.ref, sample.pair)
        if self._last is None or self._last[0] != key:
            faces, rng = sample.ref.load(), self._rng(sample, BLEND_DRAWS)
            self._last = key, blend_window(faces.images, faces.landmarks, self.blend, rng)
        return self._last[1]

    def _change(self, sample: Sample) -> WindowChange:
        return draw_change(self.augmentation, self._rng(sample, CHANGE_DRAWS))

    def _rng(self, sample: Sample, part: int) -> np.random.Generator:
        return np.random.default_rng([*self.seed, sample.pair, part])


def init_worker(worker_id: int) -> None:
    """Limit a loader's worker to one core: `worker_init_fn` of a `DataLoader`.

    OpenCV would start one thread per core in every worker, and its threads do not survive a fork.
    """
    del worker_id
    cv2.setNumThreads(0)


def _check(per_video: int | None, blended_share: float = 0.0) -> None:
    if per_video is not None and per_video < 1:
        raise UsageError(f"per_video is {per_video}: at least one window of a video is needed")
    if not 0 <= blended_share <= 1:
        raise UsageError(f"blended_share is {blended_share}: a share lies between 0 and 1")


def _real_videos(windows: SplitWindows) -> list[VideoWindows]:
    reals = [video for video in windows.videos if video.label == Label.REAL and len(video)]
    if not reals:
        raise DataError(f"no real video of the split {windows.split!r} gives a window")
    return reals


def _fake_videos(windows: SplitWindows, *, needed: bool) -> list[list[VideoWindows]]:
    """Group the fake videos by method."""
    by_method: dict[str, list[VideoWindows]] = defaultdict(list)
    for video in windows.videos:
        if video.label == Label.FAKE and len(video):
            by_method[video.video.method].append(video)
    if needed and not by_method:
        raise DataError(
            f"no fake video of the split {windows.split!r} gives a window: add some, or make fakes "
            "of the real ones with --fakes self-blended"
        )
    return [by_method[method] for method in sorted(by_method)]


def _count(videos: Sequence[VideoWindows], per_video: int | None) -> int:
    return sum(min(per_video or len(video), len(video)) for video in videos)


def _draw(
    videos: Sequence[VideoWindows], per_video: int | None, count: int, rng: np.random.Generator
) -> list[WindowRef]:
    """Draw some windows of every video, shuffled, and repeat until there are `count`."""
    drawn: list[WindowRef] = []
    while len(drawn) < count:
        chosen = [
            (video, int(position))
            for video in videos
            for position in rng.choice(len(video), _count([video], per_video), replace=False)
        ]
        order = rng.permutation(len(chosen))[: count - len(drawn)]
        drawn += [chosen[i][0][chosen[i][1]] for i in order]
    return drawn


def _draw_by_method(
    by_method: Sequence[Sequence[VideoWindows]],
    per_video: int | None,
    count: int,
    rng: np.random.Generator,
) -> list[WindowRef]:
    """Alternate between methods; the first is drawn, since the last round may be incomplete."""
    if count == 0:
        return []
    turns = -(-count // len(by_method))
    order = rng.permutation(len(by_method))
    columns = [_draw(by_method[i], per_video, turns, rng) for i in order]
    return [ref for turn in zip(*columns, strict=True) for ref in turn][:count]
