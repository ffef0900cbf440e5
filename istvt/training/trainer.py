"""Windows of two splits and a recipe in, epochs out: one training in progress."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from istvt.data.crops import Progress
from istvt.data.windows import SplitWindows, spread
from istvt.errors import RuntimeEnvironmentError, UsageError
from istvt.model.istvt import ISTVT
from istvt.runs import save_run
from istvt.training.batch_norm import synchronise_batch_norm
from istvt.training.batches import BatchPlan, load_batches
from istvt.training.checkpoint import (
    LAST_FILE,
    Plan,
    Position,
    TrainState,
    load_checkpoint,
    read_facts,
    save_checkpoint,
)
from istvt.training.clock import Clock
from istvt.training.distributed import Processes
from istvt.training.ema import WeightAverage
from istvt.training.epochs import EpochResult, best_of, epoch_from, is_stale, write_metrics
from istvt.training.material import Material
from istvt.training.memory import checkpoint_blocks
from istvt.training.recipe import Precision
from istvt.training.schedule import make_optimizer, make_schedule
from istvt.training.step import Stepper
from istvt.training.stop import StopRequest, TrainingStopped
from istvt.training.validate import Validation, validate


class Trainer:
    """One training in progress: what moves the model, where it is, and the epochs so far.

    Args:
        out: the run folder, written by the first process alone.
        plan: what the training was asked to do.
        model: with its first weights, on the CPU.
        train, val: the windows.
        processes: that train together.
        precision: of the forward passes, as settled.
        setup_s: what settling it took; counts as training.
        stop: asked after each step whether to end.
        progress: told what the process does.
    """

    def __init__(
        self,
        out: Path,
        plan: Plan,
        model: ISTVT,
        *,
        train: SplitWindows,
        val: SplitWindows,
        processes: Processes,
        precision: Precision,
        setup_s: float = 0.0,
        stop: StopRequest | None = None,
        progress: Progress | None = None,
    ) -> None:
        recipe = plan.recipe
        self._out, self.plan, self.precision = out, plan, precision
        self._processes, self._progress = processes, progress
        self._stop = stop or StopRequest()
        self.epochs: list[EpochResult] = []
        self._position = Position(epoch=1)
        self._material, self._held_out = Material(train, recipe), spread(
            val, recipe.windows_per_video
        )
        self._clock = Clock(recipe, steps_per_epoch=self._batches(0).steps, setup_s=setup_s)
        self._saved_s = self._clock.read_s()
        self.state, self._stepper = self._set_up(model)

    def is_done(self) -> bool:
        """Say whether epochs, seconds or patience are used up; a budget gets one epoch at least."""
        recipe = self.plan.recipe
        if is_stale(self.epochs, recipe.monitor, patience=recipe.patience):
            return True
        if recipe.epochs is not None:
            return len(self.epochs) >= recipe.epochs
        return bool(self.epochs) and self._clock.is_out_of_time()

    def run_epoch(self) -> EpochResult:
        """Train on one draw of windows, or on what the budget leaves of it, and validate.

        Raises:
            TrainingStopped: a signal asked for it; the state is kept.
            UsageError: the loss is no longer a number.
            RuntimeEnvironmentError: the GPU's memory does not suffice.
        """
        try:
            self._train_epoch()
            started_s = self._clock.read_s()
            found = self._validate()
        except torch.OutOfMemoryError as error:
            raise RuntimeEnvironmentError(
                f"{self.plan.recipe.batch_size} windows a batch of preset "
                f"{self.plan.config.preset.name!r} do not fit into the memory of "
                f"{self._processes.device}: start again with --checkpoint-activations, a smaller "
                "--batch-size (and a larger --accumulate), or a smaller --preset"
            ) from error
        ended_s = self._clock.read_s()
        self._clock.now_s, self._clock.val_s = self._processes.mean(ended_s, ended_s - started_s)
        result = EpochResult(
            epoch=self._position.epoch,
            steps=(self.epochs[-1].steps if self.epochs else 0) + self._position.step,
            lr=float(self.state.schedule.get_last_lr()[0]),
            train_loss=self._position.loss_sum / self._position.step,
            val_loss=found.loss,
            val_windows=found.windows,
            val_videos=found.videos,
            elapsed_s=self._clock.now_s,
        )
        self.epochs.append(result)
        self._position = Position(epoch=result.epoch + 1)
        self._keep_epoch()
        return result

    @property
    def best(self) -> EpochResult:
        """The epoch whose weights are kept."""
        return best_of(self.epochs, self.plan.recipe.monitor)

    def restore(self) -> None:
        """Go on from the newest checkpoint."""
        facts = read_facts(self._out / LAST_FILE)
        load_checkpoint(self._out / LAST_FILE, self.state)
        self.epochs = [epoch_from(values) for values in facts["epochs"]]
        self._position = Position(**facts["position"])
        self._clock.go_on_from(facts["elapsed_s"])
        if self._processes.rank == 0:
            write_metrics(self._out, self.epochs)  # a kill may have come between the two files

    def _set_up(self, model: ISTVT) -> tuple[TrainState, Stepper]:
        recipe = self.plan.recipe
        average = None
        if recipe.ema_decay is not None:
            average = WeightAverage(model, recipe.ema_decay)
            average.model.to(self._processes.device)
        if self._processes.world > 1:
            synchronise_batch_norm(model, self._processes.device)
        if recipe.checkpoint_activations:
            checkpoint_blocks(model)
        optimizer = make_optimizer(model, recipe)
        stepper = Stepper(model, optimizer, recipe, processes=self._processes)
        schedule = make_schedule(optimizer, recipe, done=self._clock.share_done)
        scaling = self._processes.fabric.strategy.precision
        return TrainState(model, average, optimizer, schedule, scaling), stepper

    def _train_epoch(self) -> None:
        self.state.model.train()
        plan, first = self._batches(self._position.epoch), self._position.step
        ...
