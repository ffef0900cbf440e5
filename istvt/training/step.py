"""Take one optimizer step on batches of windows."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from istvt.compute import true_fp32
from istvt.errors import UsageError
from istvt.models.base import CheckpointsBlocks, VideoModel
from istvt.training.batch_norm import synchronise_batch_norm
from istvt.training.distributed import Processes
from istvt.training.optimizer import WeightAverage, make_optimizer, make_schedule
from istvt.training.run.checkpoint import TrainState
from istvt.training.run.recipe import TrainRecipe

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Batches = Iterator[tuple[Tensor, Tensor]]


class Stepper:
    """Takes the steps of a recipe; Fabric handles device, number format and other processes."""

    def __init__(self, state: TrainState, recipe: TrainRecipe, *, processes: Processes) -> None:
        self._fabric: Fabric = processes.fabric
        self._state, self._recipe, self._device = state, recipe, processes.device
        module, wrapped = self._fabric.setup(state.model, state.optimizer)
        self._module: Any = module
        self._optimizer: Any = wrapped

    @true_fp32()  # as in validation
    def step(self, batches: Batches) -> float:
        """Read the batches of one step from the iterator, and take the step.

        Returns:
            The mean loss over this process's windows.
        """
        recipe, total = self._recipe, torch.zeros((), device=self._device)
        for part in range(recipe.accumulate):
            faces, labels = (values.to(self._device, non_blocking=True) for values in next(batches))
            is_last = part == recipe.accumulate - 1
            with self._fabric.no_backward_sync(self._module, enabled=not is_last):
                loss = self._loss(self._module(faces), labels) / recipe.accumulate
                if part == 0:  # the new gradients reuse the memory freed here
                    self._optimizer.zero_grad(set_to_none=True)
                self._fabric.backward(loss)
            total += loss.detach()
        if recipe.max_grad_norm is not None:
            self._fabric.clip_gradients(
                self._module,
                self._optimizer,
                max_norm=recipe.max_grad_norm,
                error_if_nonfinite=False,  # fp16 overflows sometimes: its scaler skips the step
            )
        self._optimizer.step()
        if self._state.average is not None:
            self._state.average.update(self._state.model)
        return float(total)

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        smoothing = self._recipe.label_smoothing
        targets = labels * (1 - smoothing) + smoothing / 2
        return binary_cross_entropy_with_logits(logits.float(), targets)


def blocks_of(model: VideoModel) -> CheckpointsBlocks:
    """Return the model as one whose activations can be checkpointed.

    Raises:
        UsageError: it has no such blocks.
    """
    if not isinstance(model, CheckpointsBlocks):
        raise UsageError(
            f"checkpoint_activations: {model.spec.architecture} has no blocks to compute again; "
            "leave --checkpoint-activations out"
        )
    return model


def set_up(
    model: VideoModel, recipe: TrainRecipe, *, processes: Processes, done: Callable[[int], float]
) -> tuple[TrainState, Stepper]:
    """Set up the state and stepper for a recipe.

    Args:
        model: with its initial weights; moved to the processes' device.
        recipe: how to train it.
        processes: that train together.
        done: called with the step, returns the finished share of the training.
    """
    average = None
    if recipe.ema_decay is not None:
        average = WeightAverage(model, recipe.ema_decay, device=processes.device)
    if processes.world > 1:
        synchronise_batch_norm(model, processes.device)
    if recipe.checkpoint_activations:
        blocks_of(model).checkpoint_blocks()
    optimizer = make_optimizer(model, recipe)
    state = TrainState(
        model=model,
        average=average,
        optimizer=optimizer,
        schedule=make_schedule(optimizer, recipe, done=done),
        scaling=processes.fabric.strategy.precision,
    )
    return state, Stepper(state, recipe, processes=processes)
