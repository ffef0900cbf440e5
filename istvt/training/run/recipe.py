"""Define training recipes as frozen literals."""

import math
from dataclasses import dataclass
from typing import Literal

from istvt.errors import UsageError
from istvt.records import Fakes

Monitor = Literal["auc", "video_auc", "average_precision", "eer", "loss"]
AugmentationName = Literal["none", "mild", "paper"]
BlendName = Literal["plain", "subtle"]
MONITORS: tuple[Monitor, ...] = ("auc", "video_auc", "average_precision", "eer", "loss")

# Fields that can be mistyped on the command line, apart from the choices that it lists itself.
EXPECTED = {
    **dict.fromkeys(("lr", "budget_s", "checkpoint_every_s"), "a number above 0"),
    **dict.fromkeys(
        ("epochs", "accumulate", "windows_per_video", "patience", "step_every"),
        "a whole number from 1 on",
    ),
    "batch_size": "an even number, since half of a batch is real and half is fake",
    "blended_share": "a share between 0 and 1, neither included",
    "ema_decay": "a decay between 0 and 1, neither included",
    "label_smoothing": "a share from 0 to below 1",
    "workers": "0 or more",
}


@dataclass(frozen=True)
class TrainRecipe:
    """Everything that determines a training apart from the data and the model.

    Attributes:
        lr: the highest learning rate, reached at the end of the warm-up.
        weight_decay: applies to weight matrices and kernels, not to norms, biases, tokens or the
            position embedding.
        warmup_steps: steps over which the rate rises linearly from near 0; at most a tenth of the
            training.
        schedule: after the warm-up the rate falls to 0 along a cosine, falls by steps, or stays
            constant.
        milestones: numbers of finished epochs at which "step" multiplies the rate by `step_factor`.
        step_every: like `milestones`, but at every multiple of this number. "step" needs exactly
            one of the two.
        epochs: passes over the training videos; None if `budget_s` ends the training.
        budget_s: wall-clock seconds for training and validation together, excluding the reading of
            videos; None if `epochs` ends the training.
        batch_size: windows per forward pass of one process, half real and half fake.
        accumulate: forward passes whose gradients make one step. A step sees `batch_size` windows,
            times this, times the processes. Batch norm sees one pass of all processes.
        windows_per_video: windows drawn from each video per epoch; None uses all. Validation takes
            as many, evenly spread.
        fakes: the data's fake videos, blends made of its real ones, or both.
        blended_share: share of the fakes that "mixed" blends itself.
        blend: a preset of `data/synthetic/blend.py` for self-blended training fakes; validation
            always uses "subtle".
        augmentation: a preset of `data/windows/augment.py`; all frames of a window change alike.
        label_smoothing: moves the targets by this fraction towards 0.5.
        ema_decay: decay of the moving average of the weights, which is validated and kept; None
            keeps the weights themselves.
        precision: "auto" measures which is faster on a CPU with bf16 instructions, and uses bf16 or
            fp16 on a GPU.
        max_grad_norm: gradients are scaled down to this norm; None does not scale them.
        checkpoint_activations: keep only each block's input and recompute its inside for the
            gradients. It saves memory for about a third more arithmetic in the blocks.
        monitor: the metric on the validation split that chooses the best epoch and stops early.
            "video_auc" is over videos; "auc", "average_precision", "eer" and "loss" over windows.
        patience: epochs without improvement after which the training ends; None never ends it.
        deterministic: see `training/determinism.py`.
        shuffle_labels: the leak test, see `training/material.py`.
        workers: loader processes per training process.
        checkpoint_every_s: seconds between checkpoints within an epoch.
    """

    optimizer: Literal["sgd", "adamw"]
    lr: float
    momentum: float = 0.9
    weight_decay: float = 0.0
    warmup_steps: int = 0
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    milestones: tuple[int, ...] = ()
    step_every: int | None = None
    step_factor: float = 0.1
    epochs: int | None = None
    budget_s: float | None = None
    batch_size: int = 16
    accumulate: int = 1
    windows_per_video: int | None = None
    fakes: Fakes = "real"
    blended_share: float = 0.5
    blend: BlendName = "subtle"
    augmentation: AugmentationName = "mild"
    label_smoothing: float = 0.0
    ema_decay: float | None = None
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    max_grad_norm: float | None = None
    checkpoint_activations: bool = False
    monitor: Monitor = "auc"
    patience: int | None = None
    deterministic: bool = False
    shuffle_labels: bool = False
    seed: int = 0
    workers: int = 0
    checkpoint_every_s: float = 600.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "milestones", tuple(self.milestones))  # JSON has only lists
        if (self.epochs is None) == (self.budget_s is None):
            raise UsageError("a recipe takes either epochs or budget_s, not both")
        _check_steps(self)
        for field, is_valid in _limits(self).items():
            if not is_valid:
                value, expected = getattr(self, field), EXPECTED.get(field, "another value")
                raise UsageError(f"{field} is {value!r}: a recipe takes {expected}")


def _check_steps(recipe: TrainRecipe) -> None:
    given = bool(recipe.milestones) + (recipe.step_every is not None)
    if given != (recipe.schedule == "step"):
        raise UsageError(
            f"schedule is {recipe.schedule!r}, milestones {recipe.milestones} and step_every "
            f"{recipe.step_every}: 'step' takes one of the two, other schedules take neither"
        )
    if recipe.schedule == "step" and recipe.epochs is None:
        raise UsageError("schedule 'step' counts epochs: set epochs instead of budget_s")


def _limits(recipe: TrainRecipe) -> dict[str, bool]:
    steps = recipe.milestones
    return {
        "lr": 0 < recipe.lr < math.inf,
        "momentum": 0 <= recipe.momentum < 1,
        "weight_decay": recipe.weight_decay >= 0,
        "warmup_steps": recipe.warmup_steps >= 0,
        "milestones": list(steps) == sorted(set(steps)) and all(step >= 1 for step in steps),
        "step_every": recipe.step_every is None or recipe.step_every >= 1,
        "step_factor": 0 < recipe.step_factor < 1,
        "epochs": recipe.epochs is None or recipe.epochs >= 1,
        "budget_s": recipe.budget_s is None or recipe.budget_s > 0,
        "batch_size": recipe.batch_size >= 2 and recipe.batch_size % 2 == 0,
        "accumulate": recipe.accumulate >= 1,
        "windows_per_video": recipe.windows_per_video is None or recipe.windows_per_video >= 1,
        "fakes": recipe.fakes in ("real", "self-blended", "mixed"),
        "blended_share": 0 < recipe.blended_share < 1,
        "blend": recipe.blend in ("plain", "subtle"),
        "augmentation": recipe.augmentation in ("none", "mild", "paper"),
        "label_smoothing": 0 <= recipe.label_smoothing < 1,
        "ema_decay": recipe.ema_decay is None or 0 < recipe.ema_decay < 1,
        "monitor": recipe.monitor in MONITORS,
        "patience": recipe.patience is None or recipe.patience >= 1,
        "workers": recipe.workers >= 0,
        "checkpoint_every_s": recipe.checkpoint_every_s > 0,
    }


# Zhao et al., ISTVT, IEEE TIFS 2023: SGD, 5e-4, warm-up, at most 100 epochs, best on validation.
# Not stated there and chosen here: batch size, warm-up length, cosine, windows per video.
PAPER_RECIPE = TrainRecipe(
    optimizer="sgd",
    lr=5e-4,
    warmup_steps=1000,
    epochs=100,
    batch_size=16,
    windows_per_video=16,
    augmentation="paper",
)

# Usual for transformers today; chosen here, not tuned.
MODERN_RECIPE = TrainRecipe(
    optimizer="adamw",
    lr=3e-4,
    weight_decay=0.05,
    warmup_steps=1000,
    epochs=40,
    batch_size=16,
    windows_per_video=8,
    augmentation="paper",
    label_smoothing=0.05,
    ema_decay=0.999,
    max_grad_norm=1.0,
    patience=10,
)

# Learns the synthetic data set from random weights within a minute on two CPU cores.
DEMO_RECIPE = TrainRecipe(
    optimizer="adamw",
    lr=1e-3,
    weight_decay=0.01,
    warmup_steps=10,
    budget_s=60.0,
    batch_size=16,
    windows_per_video=6,
    max_grad_norm=1.0,
)
