"""Windows of two splits and a recipe in, epochs out: one training in progress."""

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader

from istvt.data.augment import Augmentation
from istvt.data.crops import Progress
from istvt.data.windows import SplitWindows, WindowDataset, WindowRef, draw_balanced
from istvt.errors import RuntimeEnvironmentError, UsageError
from istvt.files import atomic_file
from istvt.model.istvt import ISTVT
from istvt.presets import ModelConfig
from istvt.runs import save_run
from istvt.training.checkpoint import (
    LAST_FILE,
    TrainState,
    load_checkpoint,
    read_facts,
    save_checkpoint,
)
from istvt.training.evaluate import Evaluation, evaluate_windows
from istvt.training.metrics import Metrics
from istvt.training.precision import autocast, choose_precision, measure_step_s
from istvt.training.provenance import DataFacts
from istvt.training.recipe import Precision, TrainRecipe, make_optimizer, make_schedule

METRICS_FILE = "metrics.jsonl"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EpochResult:
    """One finished epoch; `epoch` counts from 1, `elapsed_s` over all resumed parts."""

    epoch: int
    steps: int
    lr: float
    train_loss: float
    val_windows: Metrics
    val_videos: Metrics
    elapsed_s: float


class Trainer:
    """One training in progress: the model, what moves it, and the epochs so far."""

    def __init__(
        self,
        train: SplitWindows,
        val: SplitWindows,
        config: ModelConfig,
        recipe: TrainRecipe,
        *,
        device: torch.device,
        progress: Progress | None = None,
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.train, self.val, self.config, self.recipe = train, val, config, recipe
        self.device, self._progress = device, progress
        self.precision: Precision = "fp32"
        self.epochs: list[EpochResult] = []
        self._steps_per_epoch = max(1, len(self._draw(0)) // recipe.batch_size)
        self._started, self._elapsed_before_s = time.perf_counter(), 0.0
        self._setup_s, self._val_s = 0.0, 0.0
        model = ISTVT(config.preset).to(device)
        optimizer = make_optimizer(model, recipe)
        schedule = make_schedule(optimizer, recipe, done=self._done)
        scaler = torch.amp.GradScaler(device.type, enabled=False)
        self.state = TrainState(model, optimizer, schedule, scaler)

    @property
    def elapsed_s(self) -> float:
        """Seconds of training and validation, with those before a resume."""
        return self._elapsed_before_s + time.perf_counter() - self._started

    def settle_precision(self, asked: str) -> None:
        """Choose the number format; where it is measured, that time counts as training."""
        faces, labels = next(iter(self._loader(0)))
        faces, labels = faces.to(self.device), labels.to(self.device)
        model = self.state.model
        self.precision = choose_precision(
            asked,
            self.device,
            step_s=lambda precision: measure_step_s(model, faces, labels, precision),
        )
        scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self.state = replace(self.state, scaler=scaler)
        self._setup_s = self.elapsed_s
        log.info("training on %s in %s", self.device, self.precision)

    def is_done(self) -> bool:
        """Say whether epochs or seconds are used up; a budget gets one epoch at least."""
        if self.recipe.epochs is not None:
            return len(self.epochs) >= self.recipe.epochs
        return bool(self.epochs) and self._out_of_time()

    def run_epoch(self) -> EpochResult:
        """Train on one draw of windows, or on what the budget leaves of it, and validate.

        Raises:
            UsageError: the loss is no longer a number.
            RuntimeEnvironmentError: the GPU's memory does not suffice.
        """
        number = len(self.epochs) + 1
        try:
            loss, steps = self._train_epoch(number)
            started = time.perf_counter()
            evaluation = self._validate()
        except torch.OutOfMemoryError as error:
            raise RuntimeEnvironmentError(
                f"{self.recipe.batch_size} windows a step of preset {self.config.preset.name!r} do "
                f"not fit into the memory of {self.device}: start again with a smaller "
                "--batch-size, or a smaller --preset"
            ) from error
        self._val_s = time.perf_counter() - started
        result = EpochResult(
            epoch=number,
            steps=(self.epochs[-1].steps if self.epochs else 0) + steps,
            lr=float(self.state.schedule.get_last_lr()[0]),
            train_loss=loss,
            val_windows=evaluation.windows,
            val_videos=evaluation.videos,
            elapsed_s=self.elapsed_s,
        )
        self.epochs.append(result)
        return result

    def keep(self, out: Path, data: DataFacts) -> None:
        """Write what the epoch changed, and what a resumed training compares itself with."""
        if best_of(self.epochs) is self.epochs[-1]:
            save_run(out, self.state.model, self.config)
        facts = {
            "config": self.config.to_dict(),
            "recipe": asdict(self.recipe),
            "data": asdict(data),
            "precision": self.precision,
            "elapsed_s": self.elapsed_s,
            "epochs": [asdict(result) for result in self.epochs],
        }
        save_checkpoint(out / LAST_FILE, self.state, facts)
        lines = [json.dumps(asdict(result)) + "\n" for result in self.epochs]
        with atomic_file(out / METRICS_FILE) as temporary:
            temporary.write_text("".join(lines))

    def restore(self, out: Path) -> None:
        """Go on from where `keep` left off."""
        facts = read_facts(out / LAST_FILE)
        self.settle_precision(facts["precision"])
        load_checkpoint(out / LAST_FILE, self.state)
        self.epochs = [_epoch_from(values) for values in facts["epochs"]]
        self._elapsed_before_s = facts["elapsed_s"]

    def _train_epoch(self, number: int) -> tuple[float, int]:
        self.state.model.train()
        losses: list[float] = []
        for faces, labels in self._loader(number):
            losses.append(self._step(faces.to(self.device), labels.to(self.device)))
            if not np.isfinite(losses[-1]):
                raise UsageError(
                    f"the loss became {losses[-1]} in step {len(losses)} of epoch {number} "
                    f"({self.precision}, learning rate {self.recipe.lr:g}): lower the rate or "
                    "train in fp32"
                )
            if self._progress is not None:
                self._progress(f"epoch {number}", len(losses), self._steps_per_epoch)
            if self.recipe.budget_s is not None and self._out_of_time():
                break
        return float(np.mean(losses)), len(losses)

    def _step(self, faces: Tensor, labels: Tensor) -> float:
        state, recipe = self.state, self.recipe
        with autocast(self.device, self.precision):
            logits = state.model(faces)
        loss = binary_cross_entropy_with_logits(logits.float(), labels)
        state.optimizer.zero_grad(set_to_none=True)
        state.scaler.scale(loss).backward()
        if recipe.max_grad_norm is not None:
            state.scaler.unscale_(state.optimizer)
            torch.nn.utils.clip_grad_norm_(state.model.parameters(), recipe.max_grad_norm)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.schedule.step()
        return float(loss.detach())

    def _validate(self) -> Evaluation:
        return evaluate_windows(
            self.state.model,
            self.val,
            self.recipe.windows_per_video,
            batch_size=self.recipe.batch_size,
            precision=self.precision,
            workers=self.recipe.workers,
            progress=self._progress,
        )

    def _draw(self, epoch: int) -> list[WindowRef]:
        rng = np.random.default_rng([self.recipe.seed, epoch])
        return draw_balanced(self.train, self.recipe.windows_per_video, rng=rng)

    def _loader(self, epoch: int) -> "DataLoader[tuple[Tensor, Tensor]]":
        refs = self._draw(epoch)
        dataset = WindowDataset(
            refs,
            augmentation=Augmentation() if self.recipe.augment else None,
            seed=(self.recipe.seed, epoch),
        )
        return DataLoader(
            dataset,
            batch_size=self.recipe.batch_size,
            drop_last=len(refs) > self.recipe.batch_size,
            num_workers=self.recipe.workers,
        )

    def _done(self, step: int) -> float:
        """Give the finished share of the training, 0 to 1."""
        if self.recipe.epochs is not None:
            return step / (self.recipe.epochs * self._steps_per_epoch)
        # Measuring the precision takes no step, and must not use up the warm-up.
        whole_s = max((self.recipe.budget_s or 0.0) - self._setup_s, 1e-3)
        return (self.elapsed_s - self._setup_s) / whole_s

    def _out_of_time(self) -> bool:
        """Say whether only the next validation still fits, taking as long as the last one did."""
        return self.elapsed_s + self._val_s >= (self.recipe.budget_s or 0.0)


def best_of(epochs: Sequence[EpochResult]) -> EpochResult:
    """Choose by validation AUC over windows; the earlier of equals."""
    return max(epochs, key=lambda result: result.val_windows.auc)


def _epoch_from(values: dict[str, Any]) -> EpochResult:
    metrics = {name: Metrics(**values[name]) for name in ("val_windows", "val_videos")}
    return EpochResult(**{**values, **metrics})
