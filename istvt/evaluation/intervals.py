"""Estimate intervals of a metric by resampling groups of labels and scores.

Windows of one video, and videos of one person, are alike, so whole groups are drawn. Source: Efron
and Tibshirani, An Introduction to the Bootstrap (1993), percentile intervals.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from istvt.errors import DataError
from istvt.evaluation.metrics import Doubles, Rows, take

RESAMPLES = 1000
LEVEL = 0.95

# Of labels, scores and weights `(n,)`: a row of weight 2 counts twice, one of 0 not at all.
Metric: TypeAlias = Callable[[ArrayLike, ArrayLike, ArrayLike], float]


@dataclass(frozen=True)
class Interval:
    """The range that contains 95 % of the resamples."""

    low: float
    high: float


def bootstrap(
    groups: Sequence[Hashable],
    labels: ArrayLike,
    scores: ArrayLike,
    metric: Metric,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Estimate how much a metric would vary on other videos of the same kind.

    Groups are drawn with replacement, as many as there are. Groups of reals, of fakes and of both
    are drawn separately, so that no class ever vanishes.

    Args:
        groups: `(n,)` keys; rows of one key are drawn together.
        labels: `(n,)` of 0 and 1.
        scores: `(n,)`.
        metric: such as `roc_auc`.
        resamples: the number of resamples.
        seed: fixes them.

    Raises:
        DataError: the lengths differ, or the metric has no value.
    """
    truth, values = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if truth.shape != values.shape:
        raise DataError(f"labels have shape {truth.shape}, scores {values.shape}: both take (n,)")
    order = np.argsort(-values, kind="stable")  # once, so that the metric's own sorting is fast
    truth, values = truth[order], values[order]
    draws = _resample(groups, labels, resamples=resamples, seed=seed)
    return _interval(np.array([metric(truth, values, weights[order]) for weights in draws]))


def measure_intervals(
    groups: Sequence[Hashable],
    labels: ArrayLike,
    fake_probabilities: ArrayLike,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """Compute the intervals of all metrics of `measure` at once, by name, as `bootstrap` does."""
    rows = Rows(labels, fake_probabilities)
    draws = _resample(groups, labels, resamples=resamples, seed=seed)
    found = [asdict(rows.measure(weights)) for weights in draws]
    names = [name for name in found[0] if name != "count"]
    return {name: _interval(np.array([values[name] for values in found])) for name in names}


def _resample(
    groups: Sequence[Hashable], labels: ArrayLike, *, resamples: int, seed: int
) -> Iterator[Doubles]:
    """Yield the rows' weights `(n,)` for each resample, always in the same array."""
    truth = np.asarray(labels)
    if len(groups) != len(truth) or resamples < 1:
        raise DataError(
            f"{len(groups)} groups for {len(truth)} rows, {resamples} resamples: expected as many "
            "groups as rows, and at least 1 resample"
        )
    numbers = {key: number for number, key in enumerate(dict.fromkeys(groups))}
    group_of_row = np.array([numbers[key] for key in groups], dtype=np.int64)
    strata = _strata(group_of_row, truth, len(numbers))
    rng = np.random.default_rng(seed)
    drawn, weights = np.zeros(len(numbers)), np.empty(len(truth))
    for _ in range(resamples):
        for members in strata:
            picks = rng.integers(len(members), size=len(members))
            drawn[members] = np.bincount(picks, minlength=len(members))
        take(drawn, group_of_row, out=weights)
        yield weights


def _strata(
    group_of_row: NDArray[np.int64], labels: NDArray[np.int64], groups: int
) -> list[NDArray[np.int64]]:
    """Separate the groups into those of reals, of fakes, and of both."""
    fakes = np.bincount(group_of_row, weights=labels == 1, minlength=groups)
    share = fakes / np.bincount(group_of_row)
    kind = np.where(share == 0, 0, np.where(share == 1, 1, 2))
    return [np.flatnonzero(kind == value) for value in range(3) if (kind == value).any()]


def _interval(values: Doubles) -> Interval:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))
