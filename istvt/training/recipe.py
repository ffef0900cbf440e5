"""How a model is trained: frozen literals, and the learning rate's course."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from istvt.errors import UsageError

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LambdaLR

Precision = Literal["fp32", "bf16", "fp16"]

MAX_WARMUP_SHARE = 0.1  # of a training: a short one reaches its rate too


@dataclass(frozen=True)
class TrainRecipe:
    """Everything that fixes a training besides the data and the model.

    Attributes:
        lr: the highest learning rate, reached when the warm-up ends.
        warmup_steps: steps over which the rate rises linearly from near 0; a tenth of the
            training at most.
        schedule: after the warm-up the rate falls to 0 along a cosine, or stays.
        epochs: passes over the training videos; None where `budget_s` ends it.
        budget_s: wall-clock seconds for training and validation together, without reading the
            videos; None where `epochs` ends it.
        batch_size: windows a step, half real and half fake.
        windows_per_video: windows drawn from each video an epoch; validation takes as many, evenly
            spread; None takes all.
        augment: flips, light and JPEG, the same on all frames of a window.
        precision: "auto" measures on a CPU with bf16 instructions which is faster, and takes bf16
            or fp16 on a GPU.
        max_grad_norm: gradients are scaled down to this norm; None leaves them.
    """

    optimizer: Literal["sgd", "adamw"]
    lr: float
    momentum: float = 0.9
    weight_decay: float = 0.0
    warmup_steps: int = 0
    schedule: Literal["cosine", "constant"] = "cosine"
    epochs: int | None = None
    budget_s: float | None = None
    batch_size: int = 16
    windows_per_video: int | None = None
    augment: bool = True
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    max_grad_norm: float | None = None
    seed: int = 0
    workers: int = 0

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.budget_s is None):
            raise UsageError("a recipe takes either epochs or budget_s, and not both")
        limits = {
            "lr": self.lr > 0,
            "momentum": 0 <= self.momentum < 1,
            "weight_decay": self.weight_decay >= 0,
            "warmup_steps": self.warmup_steps >= 0,
            "epochs": self.epochs is None or self.epochs >= 1,
            "budget_s": self.budget_s is None or self.budget_s > 0,
            "batch_size": self.batch_size >= 2 and self.batch_size % 2 == 0,
            "windows_per_video": self.windows_per_video is None or self.windows_per_video >= 1,
            "workers": self.workers >= 0,
        }
        for field, is_valid in limits.items():
            if not is_valid:
                raise UsageError(f"{field} is {getattr(self, field)!r}: out of range for a recipe")


# Zhao et al., ISTVT, IEEE TIFS 2023: SGD, 5e-4, warm-up, at most 100 epochs, best on validation.
# Not stated there and chosen here: batch size, warm-up length, cosine, windows a video.
PAPER_RECIPE = TrainRecipe(
    optimizer="sgd", lr=5e-4, warmup_steps=1000, epochs=100, batch_size=16, windows_per_video=16
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


def make_optimizer(model: "nn.Module", recipe: TrainRecipe) -> "Optimizer":
    """Build the recipe's optimizer over all parameters."""
    from torch.optim import SGD, AdamW

    if recipe.optimizer == "sgd":
        return SGD(
            model.parameters(),
            lr=recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
        )
    return AdamW(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)


def lr_factor(step: int, done: float, recipe: TrainRecipe) -> float:
    """Give the learning rate of a step as a share of `recipe.lr`.

    Args:
        step: steps taken before this one.
        done: the finished share of the training, 0 to 1.
        recipe: says how long the warm-up is and what follows it.
    """
    steps = recipe.warmup_steps
    warm = min(1.0, max((step + 1) / steps, done / MAX_WARMUP_SHARE)) if steps else 1.0
    if recipe.schedule == "constant":
        return warm
    # The share of a step is known from those taken: with a budget of seconds it varies.
    warm_share = min(MAX_WARMUP_SHARE, steps * done / max(step, 1))
    fallen = (done - warm_share) / (1.0 - warm_share)
    return warm * 0.5 * (1.0 + math.cos(math.pi * min(max(fallen, 0.0), 1.0)))


def make_schedule(
    optimizer: "Optimizer", recipe: TrainRecipe, *, done: Callable[[int], float]
) -> "LambdaLR":
    """Tie `lr_factor` to an optimizer.

    Args:
        optimizer: its learning rates are multiplied.
        recipe: fixes the warm-up and the course.
        done: told the step, gives the finished share of the training.
    """
    from torch.optim.lr_scheduler import LambdaLR

    return LambdaLR(optimizer, lambda step: lr_factor(step, done(step), recipe))
