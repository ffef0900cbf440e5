"""Plot the course of a training from its steps and epochs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from istvt.extras import require
from istvt.files import atomic_file
from istvt.training.run.epochs import EpochResult

SMOOTHED_SHARE = 1 / 40  # share of the steps in one mean
MOST_POINTS = 2000  # more than the plot can show
LEGEND = {
    "loc": "best",
    "facecolor": "white",
    "edgecolor": "none",
    "framealpha": 0.85,
    "fontsize": 9,
}
PLAIN, PALE, SECOND, MUTED = "#2f6db5", "#b9cde6", "#c4622d", "#6b7280"


def draw_curve(
    path: Path,
    epochs: Sequence[EpochResult],
    *,
    best: EpochResult | None = None,
    scalars: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write a PNG: loss by step, validation AUC by epoch, learning rate by step.

    Args:
        path: file to write.
        epochs: at least one.
        best: the epoch to mark.
        scalars: from `tracking.read_scalars`; if they hold no steps, epochs are plotted instead.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figures = require("matplotlib.figure", extra="train")
    figure = figures.Figure(figsize=(13, 3.8), dpi=110, layout="constrained")
    loss, auc, rate = figure.subplots(1, 3)
    _draw_loss(loss, epochs, scalars)
    _draw_auc(auc, epochs, best)
    _draw_rate(rate, epochs, scalars)
    for axes in (loss, auc, rate):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#e5e7eb", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    with atomic_file(path) as temporary:
        figure.savefig(temporary)


def _draw_loss(
    axes: Any, epochs: Sequence[EpochResult], scalars: Sequence[Mapping[str, Any]]
) -> None:
    steps, losses = _column(scalars, "train/loss")
    ends = [result.steps for result in epochs]
    if len(steps) > 1:
        width = max(1, round(len(steps) * SMOOTHED_SHARE))
        every = slice(None, None, -(-len(steps) // MOST_POINTS))
        axes.plot(steps[every], losses[every], color=PALE, linewidth=0.8)
        label = "training" if width == 1 else f"training, mean of {width} steps"
        axes.plot(steps[every], smooth(losses, width)[every], color=PLAIN, label=label)
        axes.set_ylim(*_range_of(losses, [result.val_loss for result in epochs]))
    else:
        means = [result.train_loss for result in epochs]
        axes.plot(ends, means, color=PLAIN, marker=".", label="training, mean of an epoch")
    axes.plot(
        ends, [result.val_loss for result in epochs], color=SECOND, marker=".", label="validation"
    )
    axes.set(title="loss", xlabel="step")
    axes.legend(**LEGEND)


def _draw_auc(axes: Any, epochs: Sequence[EpochResult], best: EpochResult | None) -> None:
    numbers = [result.epoch for result in epochs]
    windows = [result.val_windows.auc for result in epochs]
    videos = [result.val_videos.auc for result in epochs]
    axes.plot(numbers, windows, color=PLAIN, marker=".", label="windows")
    axes.plot(numbers, videos, color=SECOND, marker=".", label="videos")
    low = min(*windows, *videos, 0.9)  # stretching would make a good training look erratic
    axes.set_ylim(low - 0.08 * (1 - low), 1 + 0.02 * (1 - low))
    axes.set_xlim(0.5, numbers[-1] + 0.5)
    axes.axhline(0.5, color=MUTED, linewidth=1, linestyle=":")
    if best is not None:
        axes.axvline(best.epoch, color=MUTED, linewidth=1, linestyle="--", zorder=0)
        points = [best.val_windows.auc, best.val_videos.auc]
        label = f"kept: epoch {best.epoch} ({points[0]:.3f}, {points[1]:.3f})"
        axes.scatter([best.epoch] * 2, points, s=60, facecolors="none", edgecolors="k", label=label)
    axes.set(title="validation AUC", xlabel="epoch")
    axes.legend(**LEGEND)


def _draw_rate(
    axes: Any, epochs: Sequence[EpochResult], scalars: Sequence[Mapping[str, Any]]
) -> None:
    steps, rates = _column(scalars, "train/lr")
    if len(steps) > 1:
        every = slice(None, None, -(-len(steps) // MOST_POINTS))
        axes.plot(steps[every], rates[every], color=PLAIN)
    else:
        ends = [result.steps for result in epochs]
        axes.plot(ends, [result.lr for result in epochs], color=PLAIN, marker=".")
    axes.set(title="learning rate", xlabel="step")
    axes.set_ylim(bottom=0)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))


def smooth(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Average each value `(n,)` with up to `width // 2` neighbours on either side."""
    rows = np.arange(len(values))
    first = np.maximum(rows - width // 2, 0)
    end = np.minimum(rows + width // 2 + 1, len(values))
    sums = np.append(0.0, np.cumsum(values))
    smoothed: NDArray[np.float64] = (sums[end] - sums[first]) / (end - first)
    return smoothed


def _column(
    scalars: Sequence[Mapping[str, Any]], name: str
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the steps and values of one scalar, without non-finite values."""
    rows = [(line["step"], line[name]) for line in scalars if line.get(name) is not None]
    return np.array([step for step, _ in rows]), np.array([value for _, value in rows], float)


def _range_of(losses: NDArray[np.float64], val_losses: Sequence[float]) -> tuple[float, float]:
    """Choose axis limits that cut off the highest single steps, which would flatten the rest."""
    high = max(float(np.quantile(losses, 0.99)), *val_losses)
    low = min(float(losses.min()), *val_losses)
    margin = 0.05 * (high - low) or 0.05
    return low - margin, high + margin
