import itertools
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from istvt.errors import DataError
from istvt.evaluation.metrics import Rows, mean_per_video, measure, roc_auc

both_classes = st.lists(
    st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=30
).filter(lambda rows: len({label for label, _ in rows}) == 2)


def columns(rows):
    labels, scores = zip(*rows, strict=True)
    return np.array(labels, int), np.array(scores) / 6


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


def tpr_by_thresholds(labels, scores, max_fpr):
    best = 0.0
    for threshold in scores:
        accused = [score >= threshold for score in scores]
        alarms = sum(a for a, label in zip(accused, labels, strict=True) if label == 0)
        hits = sum(a for a, label in zip(accused, labels, strict=True) if label == 1)
        if alarms <= max_fpr * (labels == 0).sum():
            best = max(best, hits / labels.sum())
    return best


def ece_by_bins(labels, scores):
    """The words of Guo et al.: the bin's share of rows times |mean probability - mean label|."""
    distance = 0.0
    for number in range(15):
        rows = [
            (label, score)
            for label, score in zip(labels, scores, strict=True)
            if number / 15 < score <= (number + 1) / 15 or (number == 0 and score == 0)
        ]
        if rows:
            share_fake = sum(label for label, _ in rows) / len(rows)
            confidence = sum(score for _, score in rows) / len(rows)
            distance += len(rows) / len(labels) * abs(confidence - share_fake)
    return distance


@given(both_classes)
def test_auc_counts_every_pair(rows):
    labels, scores = columns(rows)
    assert roc_auc(labels, scores) == pytest.approx(auc_by_pairs(labels, scores))


@given(both_classes)
def test_average_precision_steps_over_every_threshold(rows):
    labels, scores = columns(rows)
    expected = precision_by_thresholds(labels, scores)
    assert measure(labels, scores).average_precision == pytest.approx(expected)


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
    assert measure(labels, scores).eer == pytest.approx(expected, abs=2e-3)


@given(both_classes)
def test_calibration_and_brier_follow_their_definitions(rows):
    labels, scores = columns(rows)
    found = measure(labels, scores)
    assert found.ece == pytest.approx(ece_by_bins(labels, scores))
    squares = [(score - label) ** 2 for label, score in zip(labels, scores, strict=True)]
    assert found.brier == pytest.approx(sum(squares) / len(squares))
    right = [(score > 0.5) == (label == 1) for label, score in zip(labels, scores, strict=True)]
    assert found.accuracy == pytest.approx(sum(right) / len(right))


@pytest.mark.parametrize("reals", [40, 99, 100, 250])
def test_at_most_one_real_in_a_hundred_is_accused(reals):
    rng = np.random.default_rng(reals)
    labels = np.array([0] * reals + [1] * 60)
    scores = rng.integers(0, 400, reals + 60) / 800 + labels * 0.4
    expected = tpr_by_thresholds(labels, scores, 0.01)
    assert 0 < expected < 1
    assert measure(labels, scores).tpr_at_1_fpr == expected


def test_one_in_a_hundred_is_allowed_and_one_in_ninety_nine_is_not():
    for reals, expected in ((100, 1.0), (99, 0.5)):
        labels = [1, 0, 1] + [0] * (reals - 1)
        scores = [0.9, 0.8, 0.7] + [0.1] * (reals - 1)
        assert measure(labels, scores).tpr_at_1_fpr == expected


def test_calibration_by_hand():
    found = measure([0, 1, 0, 1], [0.0, 1.0, 0.5, 0.5])
    assert (found.ece, found.brier) == (0.0, 0.125)
    assert measure([0, 1], [1.0, 0.0]).ece == 1.0
    # 0.4 is the upper edge of the bin that 0.36 lies in, and 0.41 is in the next.
    assert measure([1, 0], [0.4, 0.36]).ece == pytest.approx(0.12)
    assert measure([1, 0], [0.4, 0.41]).ece == pytest.approx(0.505)


@given(both_classes, st.randoms(use_true_random=False))
def test_a_weight_is_a_row_repeated(rows, random):
    labels, scores = columns(rows)
    weights = np.array([random.randint(0, 3) for _ in rows], float)
    weights[labels.argmax()] += 1  # neither class without weight
    weights[labels.argmin()] += 1
    times = weights.astype(int)
    repeated = measure(np.repeat(labels, times), np.repeat(scores, times))
    weighted = asdict(Rows(labels, scores).measure(weights))
    expected = {**asdict(repeated), "count": len(rows)}
    assert weighted == pytest.approx(expected)
    assert roc_auc(labels, scores, weights) == pytest.approx(repeated.auc)


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
        ([0, 1], [0.1, 1.2], "expected 0 to 1"),
        ([0, 1], [-3.0, 0.2], "expected 0 to 1"),
    ],
)
def test_what_cannot_be_measured_is_refused(labels, scores, message):
    with pytest.raises(DataError, match=message):
        measure(labels, scores)


def test_a_video_is_the_mean_of_its_windows_even_when_they_are_mixed():
    labels, means = mean_per_video(["b", "a", "b"], [1, 0, 1], [0.2, 0.4, 0.6])
    assert labels.tolist() == [1, 0]
    assert means == pytest.approx([0.4, 0.4])
