"""Labels and scores in, numbers out. Label 1 is fake; a higher score is more fake."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from istvt.errors import DataError

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Metrics:
    """How well scores part fakes from reals.

    Attributes:
        auc: chance that a fake scores above a real, ties counted half.
        average_precision: area under the precision-recall steps.
        eer: the error where as many reals are accused as fakes are missed.
        accuracy: at the threshold 0.5.
        count: windows or videos.
    """

    auc: float
    average_precision: float
    eer: float
    accuracy: float
    count: int


def measure(labels: ArrayLike, fake_probabilities: ArrayLike) -> Metrics:
    """Compute every metric.

    Args:
        labels: `(n,)` of 0 and 1.
        fake_probabilities: `(n,)` in 0 to 1.

    Raises:
        DataError: the lengths differ, a score is not finite, or a class is missing.
    """
    truth, scores = _checked(labels, fake_probabilities)
    return Metrics(
        auc=roc_auc(truth, scores),
        average_precision=average_precision(truth, scores),
        eer=equal_error_rate(truth, scores),
        accuracy=float(np.mean((scores > 0.5) == truth)),
        count=len(truth),
    )


def roc_auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Compute the exact area under the ROC curve from ranks, ties counted half."""
    truth, values = _checked(labels, scores)
    _, tie_group, tie_counts = np.unique(values, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(tie_counts) - (tie_counts - 1) / 2  # 1-based, shared by ties
    positives = int(truth.sum())
    rank_sum = float(mean_rank[tie_group][truth].sum())
    wins = rank_sum - positives * (positives + 1) / 2
    return wins / (positives * (len(truth) - positives))


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Compute the sum of precision times gain in recall over the distinct thresholds."""
    true_positives, false_positives = _operating_points(*_checked(labels, scores))
    precision = true_positives[1:] / (true_positives[1:] + false_positives[1:])
    return float(np.sum(np.diff(true_positives) * precision) / true_positives[-1])


def equal_error_rate(labels: ArrayLike, scores: ArrayLike) -> float:
    """Compute where the ROC curve, its points joined by lines, meets equal errors."""
    true_positives, false_positives = _operating_points(*_checked(labels, scores))
    miss = 1 - true_positives / true_positives[-1]
    false_alarm = false_positives / false_positives[-1]
    excess = false_alarm - miss  # rises from -1 to 1
    after = int(np.argmax(excess >= 0))
    before = after - 1
    share = -excess[before] / (excess[after] - excess[before])
    return float(false_alarm[before] + share * (false_alarm[after] - false_alarm[before]))


def mean_per_video(
    videos: Sequence[Hashable], labels: ArrayLike, fake_probabilities: ArrayLike
) -> tuple[NDArray[np.int64], Doubles]:
    """Average the windows of each video, in order of first appearance.

    Args:
        videos: `(n,)` keys, one a window.
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


def _operating_points(truth: NDArray[np.bool_], scores: Doubles) -> tuple[Doubles, Doubles]:
    """Count true and false positives at each distinct threshold, from accusing none to all."""
    order = np.argsort(-scores, kind="stable")
    last_of_tie = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    true_positives = np.cumsum(truth[order])[last_of_tie]
    accused = last_of_tie + 1
    hits = np.concatenate([[0.0], true_positives])
    return hits, np.concatenate([[0.0], accused - true_positives])


def _checked(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.bool_], Doubles]:
    truth, values = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if truth.shape != values.shape or truth.ndim != 1:
        raise DataError(f"labels have shape {truth.shape}, scores {values.shape}: both take (n,)")
    if not np.isfinite(values).all():
        raise DataError("a score is not a finite number")
    fakes = int((truth == 1).sum())
    if fakes == 0 or fakes == len(truth):
        raise DataError(f"{fakes} of {len(truth)} are fake: metrics need both real and fake")
    return truth == 1, values
