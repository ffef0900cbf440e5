import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from istvt.errors import DataError
from istvt.training.metrics import (
    average_precision,
    equal_error_rate,
    mean_per_video,
    measure,
    roc_auc,
)

both_classes = st.lists(
    st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=30
).filter(lambda rows: len({label for label, _ in rows}) == 2)


def columns(rows):
    labels, scores = zip(*rows, strict=True)
    return np.array(labels, int), np.array(scores) / 7


def auc_by_pairs(labels, scores):
    fakes, reals = scores[labels == 1], scores[labels == 0]
    wins = [1.0 if f > r else 0.5 if f == r else 0.0 for f, r in itertools.product(fakes, reals)]
    return sum(wins) / len(wins)


def precision_by_thresholds(labels, scores):
    area, recall_before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        accused = scores >= threshold
        recall = labels[accused].sum() / labels.sum()
        area += (recall - recall_before) * labels[accused].mean()
        recall_before = recall
    return area


@given(both_classes)
def test_auc_counts_every_pair(rows):
    labels, scores = columns(rows)
    assert roc_auc(labels, scores) == pytest.approx(auc_by_pairs(labels, scores))


@given(both_classes)
def test_average_precision_steps_over_every_threshold(rows):
    labels, scores = columns(rows)
    expected = precision_by_thresholds(labels, scores)
    assert average_precision(labels, scores) == pytest.approx(expected)


@given(both_classes)
def test_equal_errors_are_equal_on_the_joined_roc_curve(rows):
    labels, scores = columns(rows)
    thresholds = [np.inf, *sorted(set(scores), reverse=True)]
    false_alarm = [np.mean(scores[labels == 0] >= t) for t in thresholds]
    miss = [np.mean(scores[labels == 1] < t) for t in thresholds]
    dense = np.linspace(0, len(thresholds) - 1, 20001)
    at = np.arange(len(thresholds))
    gaps = np.interp(dense, at, false_alarm) - np.interp(dense, at, miss)
    expected = np.interp(dense, at, false_alarm)[np.argmin(np.abs(gaps))]
    assert equal_error_rate(labels, scores) == pytest.approx(expected, abs=2e-3)


def test_a_perfect_order_and_its_reverse():
    labels = [0, 0, 1, 1]
    best, worst = measure(labels, [0.1, 0.2, 0.8, 0.9]), measure(labels, [0.9, 0.8, 0.2, 0.1])
    assert (best.auc, best.average_precision, best.eer, best.accuracy) == (1, 1, 0, 1)
    assert (worst.auc, worst.eer, worst.accuracy) == (0, 1, 0)


def test_a_constant_score_is_chance():
    constant = measure([0, 1, 1, 0], [0.5] * 4)
    assert (constant.auc, constant.average_precision, constant.eer) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([1, 1], [0.1, 0.2], "2 of 2 are fake"),
        ([0, 0], [0.1, 0.2], "0 of 2 are fake"),
        ([], [], "0 of 0 are fake"),
        ([0, 1], [0.1, float("nan")], "not a finite"),
        ([0, 1], [0.1], "shape"),
    ],
)
def test_what_cannot_be_measured_is_refused(labels, scores, message):
    with pytest.raises(DataError, match=message):
        measure(labels, scores)


def test_a_video_is_the_mean_of_its_windows_even_when_they_are_mixed():
    labels, means = mean_per_video(["b", "a", "b"], [1, 0, 1], [0.2, 0.4, 0.6])
    assert labels.tolist() == [1, 0]
    assert means == pytest.approx([0.4, 0.4])
