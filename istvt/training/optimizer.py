"""Build the optimizer and the learning-rate schedule of a recipe."""

import copy
import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from istvt.models.base import SparesDecay, VideoModel
from istvt.training.run.recipe import TrainRecipe


class WeightAverage:
    """A moving average of a model's weights, with its batch-norm statistics.

    Early on the decay is `(1 + n) / (10 + n)` after n steps, where that is lower. The random
    initial weights thus fade quickly.
    """

    def __init__(self, model: VideoModel, decay: float, *, device: torch.device) -> None:
        self.model = copy.deepcopy(model).to(device).eval().requires_grad_(False)
        self.decay, self.steps = decay, 0

    @torch.no_grad()
    def update(self, model: VideoModel) -> None:
        """Move towards the model's present weights."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        kept, given = self.model.state_dict(), model.state_dict()
        floating = [name for name, tensor in kept.items() if tensor.is_floating_point()]
        torch._foreach_lerp_(
            [kept[name] for name in floating], [given[name] for name in floating], 1 - decay
        )
        for name in kept.keys() - set(floating):
            kept[name].copy_(given[name])

    def load(self, tensors: Mapping[str, Tensor], steps: int) -> None:
        """Resume from a saved state."""
        self.model.load_state_dict(tensors, strict=True)
        self.steps = steps


MAX_WARMUP_SHARE = 0.1  # of a training, so that a short one reaches its rate too


def make_optimizer(model: nn.Module, recipe: TrainRecipe) -> Optimizer:
    """Build the recipe's optimizer; its second group of parameters has no weight decay."""
    decayed, spared = _parted(model)
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    if recipe.optimizer == "sgd":
        return SGD(groups, lr=recipe.lr, momentum=recipe.momentum)
    return AdamW(groups, lr=recipe.lr)


def lr_factor(step: int, done: float, recipe: TrainRecipe) -> float:
    """Return the learning rate of a step as a share of `recipe.lr`.

    Args:
        step: steps taken before this one.
        done: the finished share of the training, 0 to 1.
        recipe: fixes the warm-up and the schedule after it.
    """
    steps = recipe.warmup_steps
    warm = min(1.0, max((step + 1) / steps, done / MAX_WARMUP_SHARE)) if steps else 1.0
    if recipe.schedule == "constant":
        return warm
    if recipe.schedule == "step":
        return warm * recipe.step_factor ** _falls(done, recipe)
    # The share of one step follows from the steps so far: with a budget in seconds it varies.
    warm_share = min(MAX_WARMUP_SHARE, steps * done / max(step, 1))
    fallen = (done - warm_share) / (1.0 - warm_share)
    return warm * 0.5 * (1.0 + math.cos(math.pi * min(max(fallen, 0.0), 1.0)))


def make_schedule(
    optimizer: Optimizer, recipe: TrainRecipe, *, done: Callable[[int], float]
) -> LambdaLR:
    """Attach `lr_factor` to an optimizer.

    Args:
        optimizer: its learning rates are multiplied.
        recipe: fixes the warm-up and the schedule.
        done: called with the step, returns the finished share of the training.
    """
    return LambdaLR(optimizer, lambda step: lr_factor(step, done(step), recipe))


def _falls(done: float, recipe: TrainRecipe) -> int:
    """Count how often the rate has fallen; rounding may put a whole epoch's share just below it."""
    epoch = math.floor(done * (recipe.epochs or 0) + 1e-6)
    if recipe.step_every is not None:
        return epoch // recipe.step_every
    return sum(epoch >= milestone for milestone in recipe.milestones)


def _parted(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the parameters with weight decay, and those without."""
    named = model.no_weight_decay if isinstance(model, SparesDecay) else frozenset()
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        is_spared = parameter.ndim < 2 or name.rpartition(".")[2] in named
        (spared if is_spared else decayed).append(parameter)
    return decayed, spared
