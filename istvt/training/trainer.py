"""Run one training: train, validate and checkpoint each epoch, and stop on request."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from torch import Tensor

from istvt.data.windows.index import SplitWindows
from istvt.errors import UsageError
from istvt.evaluation.evaluate import Evaluation, evaluate_windows
from istvt.evaluation.scores import Scoring
from istvt.models.base import VideoModel
from istvt.records import Progress, ignore
from istvt.training.batches import BatchPlan, load_batches
from istvt.training.distributed import Processes
from istvt.training.material import Material
from istvt.training.precision import Settled
from istvt.training.run.checkpoint import Plan, Position
from istvt.training.run.epochs import METRICS_FILE, EpochResult, best_of, is_stale
from istvt.training.run.keeper import Keeper, Progressed
from istvt.training.run.recipe import TrainRecipe
from istvt.training.step import set_up
from istvt.training.stop import StopRequest, TrainingStopped


class Clock:
    """Measures the seconds of training and validation, including those before a resume.

    Every process has its own clock. Decisions use `now_s`, which all agree on after each step.

    Attributes:
        now_s: the time last agreed on.
        val_s: the duration of the last validation.
    """

    def __init__(self, recipe: TrainRecipe, *, steps_per_epoch: int, setup_s: float = 0.0) -> None:
        self._recipe, self._steps_per_epoch, self._setup_s = recipe, steps_per_epoch, setup_s
        self._before_s, self._started = setup_s, time.perf_counter()
        self.now_s, self.val_s = setup_s, 0.0

    def read_s(self) -> float:
        """Read this process's own time."""
        return self._before_s + time.perf_counter() - self._started

    def go_on_from(self, elapsed_s: float) -> None:
        """Add the time that a training took before it was stopped."""
        self._before_s = elapsed_s
        self.now_s = self.read_s()

    def share_done(self, step: int) -> float:
        """Return the share of the training that is finished before a step, 0 to 1."""
        recipe = self._recipe
        if recipe.epochs is not None:
            return step / (recipe.epochs * self._steps_per_epoch)
        # Settling the precision trains nothing, so it must not use up the warm-up.
        whole_s = max((recipe.budget_s or 0.0) - self._setup_s, 1e-3)
        return (self.now_s - self._setup_s) / whole_s

    def is_out_of_time(self) -> bool:
        """Return whether only one validation still fits, if it takes as long as the last one."""
        budget_s = self._recipe.budget_s
        return budget_s is not None and self.now_s + self.val_s >= budget_s


__all__ = ["METRICS_FILE", "EpochResult", "Trainer"]


class Trainer:
    """One training in progress: its state, its position and its finished epochs.

    Args:
        run: the folder, written only by the first process.
        plan: the requested training.
        model: with its initial weights, on the CPU.
        train, val: the windows.
        processes: those that train together.
        settled: the number format of the forward passes; the time to settle it counts as training.
        progress: called with ("epoch N" | "score val", done, total).
    """

    def __init__(
        self,
        run: Path,
        plan: Plan,
        model: VideoModel,
        *,
        train: SplitWindows,
        val: SplitWindows,
        processes: Processes,
        settled: Settled,
        progress: Progress = ignore,
    ) -> None:
        self.plan, self.precision = plan, settled.precision
        self.epochs: list[EpochResult] = []
        self._run, self._processes, self._progress = run, processes, progress
        self._stop = StopRequest()
        self._material, self._val = Material(train, plan.recipe), val
        self._position = Position(epoch=1)
        steps = self._plan_batches(len(self._material.draw(0))).steps
        self._clock = Clock(plan.recipe, steps_per_epoch=steps, setup_s=settled.seconds)
        self._keeper = Keeper(run, plan, self.precision, writes=processes.is_first)
        self._state, self._stepper = set_up(
            model, plan.recipe, processes=processes, done=self._clock.share_done
        )
        self._kept_s = self._clock.read_s()

    @property
    def best(self) -> EpochResult:
        """The epoch whose weights are kept."""
        return best_of(self.epochs, self.plan.recipe.monitor)

    @contextmanager
    def running(self, stop: StopRequest, *, resume: bool) -> Iterator[None]:
        """Start, or resume from the newest checkpoint; the tracked values are complete afterwards.

        Args:
            stop: checked after each step.
            resume: whether to resume.
        """
        self._stop = stop
        if resume:
            found = self._keeper.restore(self._state)
            self.epochs, self._position = list(found.epochs), found.position
            self._clock.go_on_from(found.elapsed_s)
            self._kept_s = self._clock.read_s()
        else:
            self._keep()  # so that a training killed in its first epoch can be resumed too
        is_between_epochs = self._position.step == 0
        with self._keeper.tracking(self._steps_taken(), is_validated=is_between_epochs):
            yield

    def is_done(self) -> bool:
        """Return whether epochs, budget or patience are used up; a budget allows one epoch."""
        recipe = self.plan.recipe
        if is_stale(self.epochs, recipe.monitor, patience=recipe.patience):
            return True
        if recipe.epochs is not None:
            return len(self.epochs) >= recipe.epochs
        return bool(self.epochs) and self._clock.is_out_of_time()

    def run_epoch(self) -> EpochResult:
        """Train on one draw of windows, or as many as the budget allows, and validate.

        Raises:
            TrainingStopped: a signal stopped it; the state is kept.
            UsageError: the loss is no longer a number.
            RuntimeEnvironmentError: the run cannot be written.
        """
        self._train()
        found = self._validate()
        position = self._position
        result = EpochResult(
            epoch=position.epoch,
            steps=self._steps_taken(),
            lr=float(self._state.schedule.get_last_lr()[0]),
            train_loss=position.loss_sum / position.step,
            val_loss=found.loss,
            val_windows=found.windows,
            val_videos=found.videos,
            elapsed_s=self._clock.now_s,
        )
        self.epochs.append(result)
        self._position = Position(epoch=position.epoch + 1)
        self._keeper.epoch(self._state, self._progressed())
        self._kept_s = self._clock.read_s()
        return result

    def _train(self) -> None:
        """Take the remaining steps of the current epoch."""
        self._state.model.train()
        samples = self._material.draw(self._position.epoch)
        plan = self._plan_batches(len(samples))
        batches = iter(
            load_batches(
                samples,
                plan,
                first_step=self._position.step,
                workers=self.plan.recipe.workers,
                pin_memory=self._processes.device.type == "cuda",
            )
        )
        while self._position.step < plan.steps:
            self._step(batches, plan.steps)
            if self._clock.is_out_of_time():
                break

    def _step(self, batches: Iterator[tuple[Tensor, Tensor]], steps: int) -> None:
        loss = self._stepper.step(batches)
        # One exchange per step: all processes must stop and end the epoch at the same step.
        loss, is_asked, self._clock.now_s = self._processes.mean(
            loss, self._stop.is_set, self._clock.read_s()
        )
        before = self._position
        if not np.isfinite(loss):
            raise UsageError(
                f"the loss became {loss} in step {before.step + 1} of epoch {before.epoch} "
                f"({self.precision}, learning rate {self.plan.recipe.lr:g}): lower the rate or "
                "train in fp32"
            )
        rate = float(self._state.schedule.get_last_lr()[0])
        self._state.schedule.step()
        self._position = Position(before.epoch, before.step + 1, before.loss_sum + loss)
        self._keeper.track(self._steps_taken(), {"train/loss": loss, "train/lr": rate})
        self._progress(f"epoch {before.epoch}", self._position.step, steps)
        if is_asked:
            self._stop_here()
        if self._clock.read_s() - self._kept_s >= self.plan.recipe.checkpoint_every_s:
            self._keep()

    def _validate(self) -> Evaluation:
        started_s, recipe = self._clock.read_s(), self.plan.recipe
        scoring = Scoring(
            windows_per_video=recipe.windows_per_video,
            fakes=recipe.fakes,
            batch_size=recipe.batch_size,
            precision=self.precision,
            workers=recipe.workers,
        )
        found = evaluate_windows(
            self._state.kept,
            self._val,
            scoring,
            team=self._processes,
            progress=self._report_validation,
        )
        ended_s = self._clock.read_s()
        self._clock.now_s, self._clock.val_s = self._processes.mean(ended_s, ended_s - started_s)
        return found

    def _report_validation(self, stage: str, done: int, total: int) -> None:
        self._progress(stage, done, total)
        if self._stop.is_set and self._processes.world == 1:  # other processes would wait
            self._stop_here()

    def _plan_batches(self, count: int) -> BatchPlan:
        recipe, processes = self.plan.recipe, self._processes
        return BatchPlan(
            count,
            recipe.batch_size,
            accumulate=recipe.accumulate,
            rank=processes.rank,
            world=processes.world,
        )

    def _steps_taken(self) -> int:
        return (self.epochs[-1].steps if self.epochs else 0) + self._position.step

    def _progressed(self) -> Progressed:
        return Progressed(tuple(self.epochs), self._position, self._clock.read_s())

    def _keep(self) -> None:
        self._keeper.checkpoint(self._state, self._progressed())
        self._kept_s = self._clock.read_s()

    def _stop_here(self) -> None:
        self._keep()
        raise TrainingStopped(self._run, epoch=self._position.epoch, step=self._position.step)
