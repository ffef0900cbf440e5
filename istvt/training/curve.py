"""The epochs of a training in, a picture of loss and validation AUC out."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from istvt.extras import require
from istvt.files import atomic_file

if TYPE_CHECKING:
    from istvt.training.trainer import EpochResult


def draw_curve(path: Path, epochs: "Sequence[EpochResult]") -> None:
    """Write a PNG."""
    require("matplotlib", extra="train")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    numbers = [result.epoch for result in epochs]
    loss, auc = figure.subplots(1, 2)
    loss.plot(numbers, [result.train_loss for result in epochs], marker=".")
    loss.set(title="training loss", xlabel="epoch")
    auc.plot(numbers, [result.val_windows.auc for result in epochs], marker=".", label="windows")
    auc.plot(numbers, [result.val_videos.auc for result in epochs], marker=".", label="videos")
    auc.axhline(0.5, color="grey", linewidth=0.8, linestyle=":")
    auc.set(title="validation AUC", xlabel="epoch", ylim=(0, 1.02))
    auc.legend(loc="lower right")
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=120)
