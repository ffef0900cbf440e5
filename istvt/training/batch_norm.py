"""Normalise batches over all processes' windows, so that two match one with both."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed import all_reduce


def synchronise_batch_norm(model: nn.Module, device: torch.device) -> None:
    """Make every batch norm of a model use all processes' windows, in place; names stay.

    PyTorch's own layer does so only on CUDA; elsewhere `SyncedBatchNorm2d` replaces it.
    """
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SyncedBatchNorm2d


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """The arithmetic of `BatchNorm2d`, with mean and variance of all processes' batches.

    The variance is summed around the common mean: as a difference of large sums it would lose
    digits.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Map `(n, C, H, W)` to the same shape; n may differ between processes."""
        if not self.training:
            return super().forward(images)
        values = images.float()
        own = values.new_full((1,), images.numel() / images.shape[1])
        totals = _sum_of_all(torch.cat([values.sum((0, 2, 3)), own]))
        count = totals[-1].detach()
        mean = totals[:-1] / count
        centred = values - mean.view(1, -1, 1, 1)
        variance = _sum_of_all(centred.square().sum((0, 2, 3))) / count
        self._follow(mean.detach(), variance.detach() * count / (count - 1))
        scale = (variance + self.eps).rsqrt() * self.weight
        return (centred * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)).to(images.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        momentum = 0.1 if self.momentum is None else self.momentum
        for running, value in ((self.running_mean, mean), (self.running_var, variance)):
            if running is not None:
                running.lerp_(value, momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)


class _SumOfAll(torch.autograd.Function):
    """A sum over processes, in which each summand affects the losses of all processes."""

    @staticmethod
    def forward(context: Any, part: Tensor) -> Tensor:
        total = part.clone()
        all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        all_reduce(total)
        return total


def _sum_of_all(part: Tensor) -> Tensor:
    total: Tensor = _SumOfAll.apply(part)  # type: ignore[no-untyped-call]
    return total
