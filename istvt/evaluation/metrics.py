"""Compute metrics from labels and scores: label 1 is fake, a higher score is more fake."""

from bisect import bisect_left
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from istvt.errors import DataError

Bools = NDArray[np.bool_]
Doubles = NDArray[np.float64]


class Ranking:
    """Rows in falling order of their scores, sorted once; `(n,)` each."""

    def __init__(self, is_fake: Bools, scores: Doubles) -> None:
        self._order = np.argsort(-scores, kind="stable")
        falling = scores[self._order]
        self._last_of_tie = np.append(np.flatnonzero(np.diff(falling)), len(scores) - 1)
        self._is_fake = is_fake[self._order].astype(np.float64)
        self._mass, self._sums = np.empty((2, len(scores)))
        self._roc = Roc(*np.zeros((2, len(self._last_of_tie) + 1)))

    def roc(self, weights: Doubles) -> "Roc":
        """Accumulate over falling thresholds; both classes must have weight.

        The next call overwrites what this one returns.
        """
        take(weights, self._order, out=self._mass)
        np.cumsum(self._mass, out=self._sums)
        take(self._sums, self._last_of_tie, out=self._roc.accused[1:])
        np.multiply(self._mass, self._is_fake, out=self._mass)
        np.cumsum(self._mass, out=self._sums)
        take(self._sums, self._last_of_tie, out=self._roc.hits[1:])
        return self._roc


@dataclass(frozen=True, eq=False)
class Roc:
    """The fakes and the rows that each distinct threshold accuses, from none to all.

    Attributes:
        hits: `(points,)`, from 0 to all fakes.
        accused: `(points,)`, from 0 to all rows.
    """

    hits: Doubles
    accused: Doubles

    @property
    def auc(self) -> float:
        """The probability that a fake scores above a real, with ties counted half."""
        # Twice the area is the sum of (a[i+1] - a[i]) (h[i+1] + h[i]), where a is accused - hits.
        # In this sum, hits add only their own square.
        hits, accused = self.hits, self.accused
        cross = dot(accused[1:], hits[:-1]) - dot(accused[:-1], hits[1:])
        fakes, whole = float(hits[-1]), float(accused[-1])
        twice = whole * fakes + cross - fakes**2
        return twice / (2 * fakes * (whole - fakes))

    @property
    def average_precision(self) -> float:
        """Precision times gain in recall, summed over the thresholds without interpolation."""
        precision = np.maximum(self.accused[1:], 1e-300)  # avoids 0 / 0: without accused, no gain
        np.divide(self.hits[1:], precision, out=precision)
        return dot(np.diff(self.hits), precision) / float(self.hits[-1])

    @property
    def equal_error_rate(self) -> float:
        """The rate at which the curve, interpolated linearly, misses as many as it accuses."""
        after = bisect_left(range(len(self.hits)), 0.0, key=self._excess)
        before = after - 1
        low, high = self._excess(before), self._excess(after)
        share = -low / (high - low)
        start, end = self._false_alarm(before), self._false_alarm(after)
        return start + share * (end - start)

    def tpr_at(self, max_fpr: float) -> float:
        """Share of fakes found by the lowest threshold that accuses at most `max_fpr` of the reals.

        Only existing thresholds count, without interpolation. With fewer than 100 reals, at most
        1 % of them means none.
        """
        most = max_fpr * (1 + 1e-12)
        above = bisect_left(range(len(self.hits)), True, key=lambda i: self._false_alarm(i) > most)
        return float(self.hits[above - 1] / self.hits[-1])

    def _false_alarm(self, point: int) -> float:
        alarms = self.accused[point] - self.hits[point]
        return float(alarms / (self.accused[-1] - self.hits[-1]))

    def _excess(self, point: int) -> float:
        """Return false alarms minus misses, as shares: from -1 at the first point to 1."""
        return self._false_alarm(point) - 1 + float(self.hits[point] / self.hits[-1])


def dot(one: Doubles, other: Doubles) -> float:
    """Sum the products without BLAS, whose threads wait for each other on a busy machine."""
    return float(np.einsum("i,i", one, other))


def take(values: Doubles, positions: NDArray[np.int64], *, out: Doubles) -> None:
    """Write `values[positions]` into an array without a temporary one."""
    np.take(values, positions, out=out, mode="clip")  # the mode that checks bounds makes a copy


THRESHOLD = 0.5
LOW_FPR = 0.01
ECE_BINS = 15


@dataclass(frozen=True)
class Metrics:
    """How well scores separate fakes from reals, and how reliable they are as probabilities.

    Attributes:
        auc: the probability that a fake scores above a real, with ties counted half.
        average_precision: area under the precision-recall steps.
        eer: the error at which as many reals are accused as fakes are missed.
        accuracy: at the threshold 0.5.
        tpr_at_1_fpr: fakes found when at most 1 % of the reals are accused, by steps.
        ece: distance of the mean fake probability from the share of fakes, over 15 equal bins.
            Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017, for one class.
        brier: mean squared distance of the fake probability from the label.
        count: windows or videos.
    """

    auc: float
    average_precision: float
    eer: float
    accuracy: float
    tpr_at_1_fpr: float
    ece: float
    brier: float
    count: int


def measure(labels: ArrayLike, fake_probabilities: ArrayLike) -> Metrics:
    """Compute every metric.

    Args:
        labels: `(n,)` of 0 and 1.
        fake_probabilities: `(n,)` in 0 to 1.

    Raises:
        DataError: the lengths differ, a value is not a probability, or a class is missing.
    """
    return Rows(labels, fake_probabilities).measure(np.ones(np.shape(labels)))


def roc_auc(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Compute the exact area under the ROC curve.

    Args:
        labels: `(n,)` of 0 and 1.
        scores: `(n,)`, of any range.
        weights: `(n,)`, how often each row counts; None counts each once.

    Raises:
        DataError: the lengths differ, a score is not finite, or a class is missing.
    """
    is_fake, values = _checked(labels, scores)
    mass = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=np.float64)
    _check_classes(is_fake, mass)
    return Ranking(is_fake, values).roc(mass).auc


class Rows:
    """Labels and probabilities, checked once and measured under many weights.

    Args:
        labels: `(n,)` of 0 and 1.
        fake_probabilities: `(n,)` in 0 to 1.

    Raises:
        DataError: the lengths differ, or a value is not a probability.
    """

    def __init__(self, labels: ArrayLike, fake_probabilities: ArrayLike) -> None:
        self._is_fake, scores = _checked(labels, fake_probabilities)
        if len(scores) and not 0 <= scores.min() <= scores.max() <= 1:
            raise DataError(f"scores from {scores.min():g} to {scores.max():g}: expected 0 to 1")
        self._ranking = Ranking(self._is_fake, scores)
        self._is_right = ((scores > THRESHOLD) == self._is_fake).astype(np.float64)
        self._excess = scores - self._is_fake
        self._squared = self._excess**2
        self._work = np.empty(len(scores))
        # Bin i holds values above i/15 up to (i+1)/15.
        self._bins = np.maximum(np.ceil(scores * ECE_BINS).astype(np.int64) - 1, 0)

    def measure(self, weights: Doubles) -> Metrics:
        """Compute every metric, with row i counted `weights[i]` times.

        Raises:
            DataError: a class has no weight.
        """
        _check_classes(self._is_fake, weights)
        roc, whole = self._ranking.roc(weights), float(weights.sum())
        np.multiply(weights, self._excess, out=self._work)
        excess_of_bin = np.bincount(self._bins, weights=self._work)
        return Metrics(
            auc=roc.auc,
            average_precision=roc.average_precision,
            eer=roc.equal_error_rate,
            accuracy=dot(weights, self._is_right) / whole,
            tpr_at_1_fpr=roc.tpr_at(LOW_FPR),
            ece=float(np.abs(excess_of_bin).sum() / whole),
            brier=dot(weights, self._squared) / whole,
            count=len(self._is_fake),
        )


def mean_per_video(
    videos: Sequence[Hashable], labels: ArrayLike, fake_probabilities: ArrayLike
) -> tuple[NDArray[np.int64], Doubles]:
    """Average the windows of each video, in order of first appearance.

    Args:
        videos: `(n,)` keys, one per window.
        labels: `(n,)` of 0 and 1.
        fake_probabilities: `(n,)`.

    Returns:
        Labels and mean probabilities, `(videos,)` each.
    """
    order = dict.fromkeys(videos)
    position = {key: i for i, key in enumerate(order)}
    rows = np.array([position[key] for key in videos], dtype=np.int64)
    counts = np.bincount(rows, minlength=len(order))
    means = np.bincount(rows, weights=np.asarray(fake_probabilities, float)) / counts
    truth = np.bincount(rows, weights=np.asarray(labels, float)) / counts
    return truth.astype(np.int64), means


def _checked(labels: ArrayLike, scores: ArrayLike) -> tuple[Bools, Doubles]:
    truth, values = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if truth.shape != values.shape or truth.ndim != 1:
        raise DataError(f"labels have shape {truth.shape}, scores {values.shape}: both take (n,)")
    if not np.isfinite(values).all():
        raise DataError("a score is not a finite number")
    return truth == 1, values


def _check_classes(is_fake: Bools, weights: Doubles) -> None:
    if weights.shape != is_fake.shape:
        raise DataError(f"weights have shape {weights.shape}, the rows {is_fake.shape}")
    fakes, whole = float(weights.sum(where=is_fake)), float(weights.sum())
    if fakes in (0, whole):
        raise DataError(f"{fakes:g} of {whole:g} are fake: metrics need both real and fake")
