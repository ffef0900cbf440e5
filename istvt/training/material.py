"""The training windows and a recipe in, what each epoch is made of out."""

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from istvt.data.augment import MILD_AUGMENTATION, NO_AUGMENTATION, PAPER_AUGMENTATION, Augmentation
from istvt.data.blend import PLAIN_BLEND, SUBTLE_BLEND, SelfBlend
from istvt.data.samples import WindowDataset, draw_epoch
from istvt.data.windows import SplitWindows
from istvt.training.leak import choose_swapped, shuffle_labels
from istvt.training.recipe import AugmentationName, BlendName, TrainRecipe

AUGMENTATIONS: dict[AugmentationName, Augmentation] = {
    "none": NO_AUGMENTATION,
    "mild": MILD_AUGMENTATION,
    "paper": PAPER_AUGMENTATION,
}
BLENDS: dict[BlendName, SelfBlend] = {"plain": PLAIN_BLEND, "subtle": SUBTLE_BLEND}


class Material:
    """What there is to train on; an epoch's draw depends on the recipe's seed and its number."""

    def __init__(self, windows: SplitWindows, recipe: TrainRecipe) -> None:
        self._recipe, self._swapped = recipe, frozenset[str]()
        if recipe.shuffle_labels and recipe.fakes == "real":
            windows = shuffle_labels(windows, recipe.seed)
        elif recipe.shuffle_labels:
            self._swapped = choose_swapped(windows, recipe.seed)
        self._windows = windows

    def draw(self, epoch: int) -> "PairedWindows":
        """Give the windows of an epoch, real and fake in turn, with their augmentation."""
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
