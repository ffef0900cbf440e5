"""Record the results of epochs, choose the best, and decide when to stop early."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from istvt.evaluation.metrics import Metrics
from istvt.files import atomic_file
from istvt.training.run.recipe import Monitor

METRICS_FILE = "metrics.jsonl"


@dataclass(frozen=True)
class EpochResult:
    """One finished epoch.

    Attributes:
        epoch: counted from 1.
        steps: steps taken so far, over all epochs.
        lr: learning rate of the next step.
        train_loss: mean over the epoch's steps, on the labels after any smoothing.
        val_loss: binary cross-entropy of the validation windows.
        elapsed_s: seconds of training and validation so far, over all resumptions.
    """

    epoch: int
    steps: int
    lr: float
    train_loss: float
    val_loss: float
    val_windows: Metrics
    val_videos: Metrics
    elapsed_s: float


def merit_of(result: EpochResult, monitor: Monitor) -> float:
    """Return the monitored metric, negated if lower is better."""
    match monitor:
        case "auc":
            return result.val_windows.auc
        case "video_auc":
            return result.val_videos.auc
        case "average_precision":
            return result.val_windows.average_precision
        case "eer":
            return -result.val_windows.eer
        case "loss":
            return -result.val_loss


def best_of(epochs: Sequence[EpochResult], monitor: Monitor = "auc") -> EpochResult:
    """Choose the best epoch by the monitored metric; the earliest of equals."""
    return max(epochs, key=lambda result: merit_of(result, monitor))


def is_stale(epochs: Sequence[EpochResult], monitor: Monitor, *, patience: int | None) -> bool:
    """Check whether the last `patience` epochs brought no improvement."""
    if patience is None or not epochs:
        return False
    return epochs[-1].epoch - best_of(epochs, monitor).epoch >= patience


def write_metrics(run: Path, epochs: Sequence[EpochResult]) -> None:
    """Write one line of JSON per epoch."""
    with atomic_file(run / METRICS_FILE) as temporary:
        temporary.write_text("".join(json.dumps(asdict(result)) + "\n" for result in epochs))


def epoch_from(values: dict[str, Any]) -> EpochResult:
    """Rebuild a result from the output of `asdict`, after a round trip through JSON."""
    metrics = {name: Metrics(**values[name]) for name in ("val_windows", "val_videos")}
    return EpochResult(**{**values, **metrics})
