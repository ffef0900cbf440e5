"""Labels and scores in, the points of the ROC curve and what is read off them out.

Rows carry weights, as a bootstrap gives them: one of weight 2 counts twice, one of weight 0 not at
all, so that a resample needs no new sorting.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Doubles = NDArray[np.float64]


class Ranking:
    """Rows in falling order of their scores, sorted once; `(n,)` each."""

    def __init__(self, is_fake: Bools, scores: Doubles) -> None:
        self.order = np.argsort(-scores, kind="stable")
        falling = scores[self.order]
        self._last_of_tie = np.append(np.flatnonzero(np.diff(falling)), len(scores) - 1)
        self._is_fake = is_fake[self.order].astype(np.float64)

    def roc(self, weights: Doubles) -> "Roc":
        """Walk down the thresholds; both classes must have weight."""
        mass = weights[self.order]
        hits = np.cumsum(mass * self._is_fake)[self._last_of_tie]
        accused = np.cumsum(mass)[self._last_of_tie]
        return Roc(np.append(0.0, hits), np.append(0.0, accused - hits))


@dataclass(frozen=True, eq=False)
class Roc:
    """Fakes found and reals accused at each distinct threshold, from accusing none to all.

    Attributes:
        hits: `(points,)`, from 0 to all fakes.
        alarms: `(points,)`, from 0 to all reals.
    """

    hits: Doubles
    alarms: Doubles

    @property
    def auc(self) -> float:
        """Chance that a fake scores above a real, ties counted half."""
        heights = self.hits[1:] + self.hits[:-1]
        area = float(np.dot(np.diff(self.alarms), heights)) / 2
        return area / float(self.hits[-1] * self.alarms[-1])

    @property
    def average_precision(self) -> float:
        """Precision times gain in recall, summed over the thresholds; nothing is interpolated."""
        accused = self.hits + self.alarms
        precision = self.hits / np.maximum(accused, 1e-300)  # no gain where none is accused
        return float(np.dot(np.diff(self.hits), precision[1:]) / self.hits[-1])

    @property
    def equal_error_rate(self) -> float:
        """Where the curve, its points joined by lines, misses as many as it accuses."""
        miss = 1 - self.hits / self.hits[-1]
        alarm = self.alarms / self.alarms[-1]
        excess = alarm - miss  # rises from -1 to 1
        after = int(np.argmax(excess >= 0))
        before = after - 1
        share = -excess[before] / (excess[after] - excess[before])
        return float(alarm[before] + share * (alarm[after] - alarm[before]))

    def tpr_at(self, max_fpr: float) -> float:
        """Share of fakes found by the lowest threshold that accuses at most so many of the reals.

        Only thresholds that exist count, nothing is interpolated: with fewer than 100 reals, at
        most 1 % of them means none.
        """
        is_allowed = self.alarms <= max_fpr * self.alarms[-1] * (1 + 1e-12)
        return float(self.hits[np.count_nonzero(is_allowed) - 1] / self.hits[-1])
