"""Draw each epoch's training windows by a recipe."""

from dataclasses import replace

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from istvt.data.layouts.manifest import Label
from istvt.data.synthetic.blend import PLAIN_BLEND, SUBTLE_BLEND, SelfBlend
from istvt.data.windows.augment import (
    MILD_AUGMENTATION,
    NO_AUGMENTATION,
    PAPER_AUGMENTATION,
    Augmentation,
)
from istvt.data.windows.index import SplitWindows, VideoWindows
from istvt.data.windows.samples import WindowDataset, draw_epoch
from istvt.training.run.recipe import AugmentationName, BlendName, TrainRecipe


def shuffle_labels(windows: SplitWindows, seed: int) -> SplitWindows:
    """Redistribute the videos' labels among them at random."""
    rng = np.random.default_rng([seed, len(windows.videos)])
    labels = np.array([video.label for video in windows.videos])
    reals, fakes = (rng.permutation(np.flatnonzero(labels == label)) for label in Label)
    fakes_of_reals = round(len(reals) * len(fakes) / len(labels))
    dealt = np.zeros_like(labels)
    dealt[reals[:fakes_of_reals]] = 1
    dealt[fakes[: len(fakes) - fakes_of_reals]] = 1
    pairs = zip(windows.videos, dealt, strict=True)
    return replace(windows, videos=tuple(_labelled(video, int(label)) for video, label in pairs))


def choose_swapped(windows: SplitWindows, seed: int) -> frozenset[str]:
    """Choose the half of the real videos whose pairs get their two labels swapped.

    A self-blended fake has no label of its own to redistribute: blending makes it fake. So in every
    pair of a chosen real video, the real window is labelled fake and its partner real.

    Returns:
        Paths of the chosen videos.
    """
    reals = sorted(str(video.video.path) for video in windows.videos if video.label == Label.REAL)
    rng = np.random.default_rng([seed, len(reals)])
    return frozenset(rng.permutation(reals)[: len(reals) // 2].tolist())


def _labelled(windows: VideoWindows, label: int) -> VideoWindows:
    faces = windows.faces
    video = replace(faces.video, label=Label(label))
    return replace(windows, faces=replace(faces, video=video))


AUGMENTATIONS: dict[AugmentationName, Augmentation] = {
    "none": NO_AUGMENTATION,
    "mild": MILD_AUGMENTATION,
    "paper": PAPER_AUGMENTATION,
}
BLENDS: dict[BlendName, SelfBlend] = {"plain": PLAIN_BLEND, "subtle": SUBTLE_BLEND}


class Material:
    """The training data; an epoch's draw depends on the recipe's seed and the epoch's number."""

    def __init__(self, windows: SplitWindows, recipe: TrainRecipe) -> None:
        self._recipe, self._swapped = recipe, frozenset[str]()
        if recipe.shuffle_labels and recipe.fakes == "real":
            windows = shuffle_labels(windows, recipe.seed)
        elif recipe.shuffle_labels:
            self._swapped = choose_swapped(windows, recipe.seed)
        self._windows = windows

    def draw(self, epoch: int) -> "PairedWindows":
        """Return the windows of an epoch, real and fake alternating, with their augmentation."""
        recipe, seed = self._recipe, (self._recipe.seed, epoch)
        samples = draw_epoch(
            self._windows,
            recipe.windows_per_video,
            fakes=recipe.fakes,
            blended_share=recipe.blended_share,
            rng=np.random.default_rng(seed),
        )
        windows = WindowDataset(
            samples,
            augmentation=AUGMENTATIONS[recipe.augmentation],
            blend=BLENDS[recipe.blend],
            seed=seed,
        )
        return PairedWindows(windows, self._swapped)


class PairedWindows(Dataset[tuple[Tensor, Tensor]]):
    """Windows of an epoch; for the leak test some pairs have their labels swapped."""

    def __init__(self, windows: WindowDataset, swapped: frozenset[str]) -> None:
        self.windows, self._swapped = windows, swapped

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        faces, label = self.windows[position]
        is_swapped = self.video_of_pair(position) in self._swapped
        return faces, 1 - label if is_swapped else label

    def video_of_pair(self, position: int) -> str:
        """Name the real video of the pair at a position."""
        return str(self.windows.samples[position - position % 2].ref.video.path)
