"""The weights of every step in, their moving average out."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor

from istvt.model.istvt import ISTVT


class WeightAverage:
    """A second model that follows the first, with its batch-norm statistics.

    Early on the decay is `(1 + n) / (10 + n)` after n steps, where that is lower: the random first
    weights are soon forgotten.
    """

    def __init__(self, model: ISTVT, decay: float, *, device: torch.device) -> None:
        self.model = copy.deepcopy(model).to(device).eval().requires_grad_(False)
        self.decay, self.steps = decay, 0

    @torch.no_grad()
    def update(self, model: ISTVT) -> None:
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
        """Go on from a saved state."""
        self.model.load_state_dict(tensors, strict=True)
        self.steps = steps
