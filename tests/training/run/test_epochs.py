"""Which epoch is best, and when it is enough."""

import json
from dataclasses import asdict, replace

import pytest

from istvt.evaluation.metrics import measure
from istvt.training.run.epochs import EpochResult, best_of, epoch_from, is_stale, write_metrics

METRICS = measure([0, 1, 0, 1], [0.1, 0.9, 0.4, 0.6])


def epoch(number, *, auc=0.5, video_auc=0.5, eer=0.5, ap=0.5, loss=0.7):
    windows = replace(METRICS, auc=auc, eer=eer, average_precision=ap)
    return EpochResult(
        number, number * 10, 1e-3, 0.7, loss, windows, replace(METRICS, auc=video_auc), 1.0
    )


@pytest.mark.parametrize(
    ("monitor", "better"),
    [
        ("auc", {"auc": 0.9}),
        ("video_auc", {"video_auc": 0.9}),
        ("average_precision", {"ap": 0.9}),
        ("eer", {"eer": 0.1}),
        ("loss", {"loss": 0.1}),
    ],
)
def test_each_monitor_finds_its_best_and_ends_the_wait_for_a_better(monitor, better):
    epochs = [epoch(1), epoch(2, **better), epoch(3), epoch(4, **better)]
    assert best_of(epochs, monitor).epoch == 2
    assert not is_stale(epochs[:3], monitor, patience=2)
    assert is_stale(epochs, monitor, patience=2)
    assert not is_stale(epochs, monitor, patience=None)
    assert not is_stale([], monitor, patience=1)


def test_metrics_are_read_as_written(tmp_path):
    epochs = [epoch(1), epoch(2)]
    write_metrics(tmp_path, epochs)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [epoch_from(json.loads(line)) for line in lines] == epochs
    assert json.loads(lines[0]) == asdict(epochs[0])
