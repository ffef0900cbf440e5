"""Labels and scores in, the points of the ROC curve and what is read off them out.

Rows carry weights, as a bootstrap gives them: one of weight 2 counts twice, one of weight 0 not at
all, so that a resample needs no new sorting. Arrays are written over and over in place: for 10^5
rows most of the time would go into asking the system for memory.
"""

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
        """Walk down the thresholds; both classes must have weight.

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
    """Fakes and rows that are accused at each distinct threshold, from none to all.

    Attributes:
        hits: `(points,)`, from 0 to all fakes.
        accused: `(points,)`, from 0 to all rows.
    """

    hits: Doubles
    accused: Doubles

    @property
    def auc(self) -> float:
        """Chance that a fake scores above a real, ties counted half."""
        # Twice the area is the sum of (a[i+1] - a[i]) (h[i+1] + h[i]), a being accused - hits, in
        # which hits add nothing beyond their own square.
        hits, accused = self.hits, self.accused
        cross = dot(accused[1:], hits[:-1]) - dot(accused[:-1], hits[1:])
        fakes, whole = float(hits[-1]), float(accused[-1])
        twice = whole * fakes + cross - fakes**2
        return twice / (2 * fakes * (whole - fakes))

    @property
    def average_precision(self) -> float:
        """Precision times gain in recall, summed over the thresholds; nothing is interpolated."""
        precision = np.maximum(self.accused[1:], 1e-300)  # where none is accused, none is gained
        np.divide(self.hits[1:], precision, out=precision)
        return dot(np.diff(self.hits), precision) / float(self.hits[-1])

    @property
    def equal_error_rate(self) -> float:
        """Where the curve, its points joined by lines, misses as many as it accuses."""
        after = bisect_left(range(len(self.hits)), 0.0, key=self._excess)
        before = after - 1
        low, high = self._excess(before), self._excess(after)
        share = -low / (high - low)
        start, end = self._false_alarm(before), self._false_alarm(after)
        return start + share * (end - start)

    def tpr_at(self, max_fpr: float) -> float:
        """Share of fakes found by the lowest threshold that accuses at most so many of the reals.

        Only thresholds that exist count, nothing is interpolated: with fewer than 100 reals, at
        most 1 % of them means none.
        """
        most = max_fpr * (1 + 1e-12)
        above = bisect_left(range(len(self.hits)), True, key=lambda i: self._false_alarm(i) > most)
        return float(self.hits[above - 1] / self.hits[-1])

    def _false_alarm(self, point: int) -> float:
        alarms = self.accused[point] - self.hits[point]
        return float(alarms / (self.accused[-1] - self.hits[-1]))

    def _excess(self, point: int) -> float:
        """Give false alarms less misses, as shares: from -1 at the first point to 1."""
        return self._false_alarm(point) - 1 + float(self.hits[point] / self.hits[-1])


def dot(one: Doubles, other: Doubles) -> float:
    """Sum the products; BLAS would start threads, which on a busy machine wait for each other."""
    return float(np.einsum("i,i", one, other))


def take(values: Doubles, positions: NDArray[np.int64], *, out: Doubles) -> None:
    """Write `values[positions]` into an array, without one in between."""
    np.take(values, positions, out=out, mode="clip")  # the mode that checks bounds makes a copy
