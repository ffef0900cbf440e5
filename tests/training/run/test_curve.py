from dataclasses import replace

import numpy as np
import pytest
from matplotlib import figure as figures
from matplotlib.image import imread

from istvt.evaluation.metrics import measure
from istvt.training.run.curve import MOST_POINTS, draw_curve, smooth
from istvt.training.run.epochs import EpochResult

METRICS = measure([0, 1, 0, 1], [0.2, 0.7, 0.4, 0.6])


def epoch(number, auc, *, steps_each=10):
    return EpochResult(
        epoch=number,
        steps=number * steps_each,
        lr=0.1 / number,
        train_loss=1 / number,
        val_loss=2 / number,
        val_windows=replace(METRICS, auc=auc),
        val_videos=replace(METRICS, auc=auc / 2),
        elapsed_s=float(number),
    )


EPOCHS = [epoch(1, 0.6), epoch(2, 0.9), epoch(3, 0.8)]


@pytest.fixture
def drawn(monkeypatch):
    """The axes of the figures that are made, for a look at what is on them."""
    made = []
    original = figures.Figure.subplots

    def subplots(self, *arguments):
        made.append(original(self, *arguments))
        return made[-1]

    monkeypatch.setattr(figures.Figure, "subplots", subplots)
    return made


def lines_of(axes):
    return {line.get_label(): line.get_xydata().tolist() for line in axes.lines}


def test_a_picture_of_epochs_alone(tmp_path, drawn):
    draw_curve(tmp_path / "curve.png", EPOCHS)
    height, width = imread(tmp_path / "curve.png").shape[:2]
    assert width > 2 * height > 200
    loss, auc, rate = drawn[0]
    assert lines_of(loss)["training, mean of an epoch"] == [[10, 1], [20, 0.5], [30, 1 / 3]]
    assert lines_of(loss)["validation"] == [[10, 2], [20, 1], [30, 2 / 3]]
    assert lines_of(auc)["windows"] == [[1, 0.6], [2, 0.9], [3, 0.8]]
    assert lines_of(auc)["videos"] == [[1, 0.3], [2, 0.45], [3, 0.4]]
    assert rate.lines[0].get_ydata().tolist() == [0.1, 0.05, 0.1 / 3]


def test_the_epoch_that_is_kept_is_marked(tmp_path, drawn):
    draw_curve(tmp_path / "curve.png", EPOCHS, best=EPOCHS[1])
    auc = drawn[0][1]
    (mark,) = auc.collections
    assert mark.get_offsets().tolist() == [[2, 0.9], [2, 0.45]]
    assert "epoch 2 (0.900, 0.450)" in [text.get_text() for text in auc.get_legend().texts][-1]


def test_single_steps_are_drawn_where_they_are_known(tmp_path, drawn):
    rng = np.random.default_rng(0)
    losses = rng.random(5000)
    scalars = [
        {"step": step, "train/loss": float(loss), "train/lr": step / 1e6}
        for step, loss in enumerate(losses, start=1)
    ]
    scalars[7]["train/loss"] = None  # it was not finite
    scalars.append({"step": 5000, "val/windows/auc": 0.7})
    draw_curve(tmp_path / "curve.png", EPOCHS, scalars=scalars)
    loss, _, rate = drawn[0]
    raw, smoothed = loss.lines[0], loss.lines[1]
    assert smoothed.get_label() == "training, mean of 125 steps"
    assert 1000 < len(raw.get_xdata()) <= MOST_POINTS
    assert np.std(smoothed.get_ydata()) < 0.2 * np.std(raw.get_ydata())
    assert rate.lines[0].get_xydata()[1].tolist() == [4, 4e-6]


def test_one_epoch_of_one_step_is_drawn_too(tmp_path):
    scalars = [{"step": 1, "train/loss": 0.7, "train/lr": 0.1}]
    draw_curve(tmp_path / "curve.png", [epoch(1, 1.0, steps_each=1)], scalars=scalars)
    assert (tmp_path / "curve.png").stat().st_size > 1000


@pytest.mark.parametrize("width", [1, 2, 5, 8, 100])
def test_smoothing_is_the_mean_of_the_neighbours(width):
    values = np.random.default_rng(1).random(40)
    half = width // 2
    expected = [values[max(0, i - half) : i + half + 1].mean() for i in range(40)]
    assert smooth(values, width) == pytest.approx(expected)
