import numpy as np
import pytest

from istvt.errors import DataError
from istvt.evaluation.intervals import Interval, bootstrap, measure_intervals
from istvt.evaluation.metrics import measure, roc_auc


def some_rows(groups, per_group, *, seed=0, shift=1.0):
    """Rows whose scores depend on the group as much as on the row; every other group is fake."""
    rng = np.random.default_rng(seed)
    keys = np.repeat(np.arange(groups), per_group)
    labels = keys % 2
    logits = rng.normal(size=groups)[keys] + rng.normal(size=len(keys)) + shift * labels
    return keys.tolist(), labels, 1 / (1 + np.exp(-logits))


def test_it_repeats_whole_groups_as_a_plain_bootstrap_does():
    """A slow one: lists of rows, stratified, one metric of all rows that were drawn."""
    keys, labels, scores = some_rows(30, 4)
    rng = np.random.default_rng(1)
    by_class = [sorted({k for k in keys if k % 2 == kind}) for kind in (0, 1)]
    aucs = []
    for _ in range(1000):
        drawn = np.concatenate([rng.choice(members, len(members)) for members in by_class])
        rows = np.concatenate([np.flatnonzero(np.array(keys) == key) for key in drawn])
        aucs.append(roc_auc(labels[rows], scores[rows]))
    expected = np.quantile(aucs, [0.025, 0.975])
    found = bootstrap(keys, labels, scores, roc_auc)
    assert (found.low, found.high) == pytest.approx(expected, abs=0.02)


def test_all_metrics_at_once_are_those_one_by_one():
    keys, labels, scores = some_rows(20, 3)
    together = measure_intervals(keys, labels, scores, resamples=50, seed=3)
    assert together["auc"] == bootstrap(keys, labels, scores, roc_auc, resamples=50, seed=3)
    point = measure(labels, scores)
    assert set(together) == {name for name in vars(point) if name != "count"}
    assert all(found.low <= found.high for found in together.values())


def test_nineteen_of_twenty_intervals_hold_the_truth():
    """The AUC of two normals a distance d apart, of variance 2 each, is Phi(d / 2)."""
    truth = 0.6914624612740131  # d = 1
    hits = 0
    for seed in range(200):
        keys, labels, scores = some_rows(100, 3, seed=seed)
        found = bootstrap(keys, labels, scores, roc_auc, resamples=200, seed=seed)
        hits += found.low <= truth <= found.high
    assert 0.89 <= hits / 200 <= 0.98


def test_rows_of_a_group_are_no_evidence_of_their_own():
    keys, labels, scores = some_rows(40, 1)
    once = bootstrap(keys, labels, scores, roc_auc)
    copies = bootstrap(keys * 5, np.tile(labels, 5), np.tile(scores, 5), roc_auc)
    assert copies == once
    alone = bootstrap(list(range(200)), np.tile(labels, 5), np.tile(scores, 5), roc_auc)
    assert alone.high - alone.low < 0.6 * (once.high - once.low)


@pytest.mark.parametrize(
    "keys", [["r", "a", "b", "c"], ["both", "a", "b", "both"], ["all"] * 4], ids="".join
)
def test_a_class_never_vanishes(keys):
    found = bootstrap(keys, [0, 1, 1, 1], [0.5, 0.4, 0.6, 0.7], roc_auc, resamples=300)
    assert 0 <= found.low <= found.high <= 1


def test_a_single_group_says_nothing_of_others():
    assert bootstrap([0, 0], [0, 1], [0.1, 0.9], roc_auc) == Interval(1.0, 1.0)


def test_the_seed_fixes_it():
    keys, labels, scores = some_rows(20, 2)
    one, same, other = (
        bootstrap(keys, labels, scores, roc_auc, resamples=100, seed=seed) for seed in (4, 4, 5)
    )
    assert one == same != other


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(DataError, match="3 groups for 2 rows"):
        bootstrap([1, 2, 3], [0, 1], [0.1, 0.2], roc_auc)
    with pytest.raises(DataError, match="shape"):
        bootstrap([1, 2, 3], [0, 1], [0.1, 0.2, 0.3], roc_auc)
    with pytest.raises(DataError, match="0 resamples"):
        bootstrap([1, 2], [0, 1], [0.1, 0.2], roc_auc, resamples=0)
    with pytest.raises(DataError, match="0 of 2 are fake"):
        bootstrap([1, 2], [0, 0], [0.1, 0.2], roc_auc)
