"""Compute the metrics of an evaluation, overall and for each fake method, with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from istvt.data.layouts.manifest import Video
from istvt.evaluation.evaluate import Evaluation
from istvt.evaluation.intervals import RESAMPLES, Interval, measure_intervals
from istvt.evaluation.metrics import Doubles, Metrics, measure

LEAST_PEOPLE = 10  # fewer groups do not show how results vary, so videos are drawn instead

Unit = Literal["people", "videos"]


@dataclass(frozen=True)
class Measured:
    """Metrics, and the 95 % interval of each by its name; intervals only on request."""

    metrics: Metrics
    intervals: dict[str, Interval]


@dataclass(frozen=True)
class Part:
    """All that was scored, or the fakes of one method against all reals.

    Attributes:
        method: empty for all.
        fakes, reals: videos.
    """

    method: str
    fakes: int
    reals: int
    windows: Measured
    videos: Measured


@dataclass(frozen=True)
class Summary:
    """The results of an evaluation.

    Attributes:
        whole: over all methods.
        methods: one entry per method, if there are two or more.
        unit: what was drawn for the intervals: videos, or people with all their videos.
        groups: the number of such units.
        people_groups: of people who share videos; None if a video names nobody.
        resamples: 0 if there are no intervals.
    """

    whole: Part
    methods: tuple[Part, ...]
    unit: Unit
    groups: int
    people_groups: int | None
    resamples: int


def summarise(found: Evaluation, *, resamples: int = RESAMPLES, seed: int = 0) -> Summary:
    """Measure the whole and every method.

    Args:
        found: the scores.
        resamples: of the intervals; 0 omits them.
        seed: fixes them.
    """
    videos = [score.video for score in found.scores]
    unit, groups = group_videos(videos)
    people = _people_of(videos)
    measuring = _Measuring(found, groups, resamples=resamples, seed=seed)
    methods = sorted({score.method for score in found.scores if score.label})
    return Summary(
        whole=measuring.part(None),
        methods=tuple(measuring.part(name) for name in methods) if len(methods) > 1 else (),
        unit=unit,
        groups=_count(groups),
        people_groups=None if people is None else _count(people),
        resamples=resamples,
    )


def group_videos(videos: Sequence[Video]) -> tuple[Unit, NDArray[np.int64]]:
    """Choose what is drawn together in a bootstrap.

    Videos that share a person are alike, and a swap shares two people. Such ties make up a group.
    If a video names nobody, or fewer than ten groups remain, each video with its blends is a
    group. In Celeb-DF nearly everyone is swapped with everyone.

    Returns:
        The unit, and the group `(n,)` of each video.
    """
    people = _people_of(videos)
    if people is not None and _count(people) >= LEAST_PEOPLE:
        return "people", people
    numbers = {path: i for i, path in enumerate(dict.fromkeys(video.path for video in videos))}
    return "videos", np.array([numbers[video.path] for video in videos], dtype=np.int64)


def _people_of(videos: Sequence[Video]) -> NDArray[np.int64] | None:
    """Group videos by the people they share; None if a video names nobody."""
    if not all(video.identities for video in videos):
        return None
    return _connected([video.identities for video in videos])


def _count(groups: NDArray[np.int64]) -> int:
    return len(set(groups.tolist()))


def _connected(names_of: Sequence[tuple[str, ...]]) -> NDArray[np.int64]:
    """Return the group number of each entry, where shared names join groups."""
    leader: dict[str, str] = {}

    def find(name: str) -> str:
        while leader.setdefault(name, name) != name:
            leader[name] = name = leader[leader[name]]
        return name

    for names in names_of:
        for name in names:
            leader[find(name)] = find(names[0])
    leaders = [find(names[0]) for names in names_of]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(leaders))}
    return np.array([numbers[name] for name in leaders], dtype=np.int64)


class _Measuring:
    """The arrays of an evaluation, by window and by video."""

    def __init__(
        self, found: Evaluation, groups: NDArray[np.int64], *, resamples: int, seed: int
    ) -> None:
        self._found, self._groups = found, groups
        self._resamples, self._seed = resamples, seed
        self._labels = np.array([score.label for score in found.scores])
        self._means = np.array([score.fake_probability for score in found.scores])
        self._methods = np.array([score.method for score in found.scores])

    def part(self, method: str | None) -> Part:
        """Measure all, or one method's fakes against all reals."""
        is_in = self._labels == 0
        is_in |= (self._methods == method) if method is not None else True
        window_is_in = is_in[self._found.video_of_window]
        of_window = self._found.video_of_window[window_is_in]
        fakes = int(self._labels[is_in].sum())
        return Part(
            method=method or "",
            fakes=fakes,
            reals=int(is_in.sum()) - fakes,
            windows=self._measure(of_window, self._found.fake_probabilities[window_is_in]),
            videos=self._measure(np.flatnonzero(is_in), self._means[is_in]),
        )

    def _measure(self, rows: NDArray[np.int64], probabilities: Doubles) -> Measured:
        """Measure probabilities, each of which belongs to the video in `rows`."""
        labels, groups = self._labels[rows], self._groups[rows]
        metrics = measure(labels, probabilities)
        if not self._resamples:
            return Measured(metrics, {})
        intervals = measure_intervals(
            groups.tolist(), labels, probabilities, resamples=self._resamples, seed=self._seed
        )
        return Measured(metrics, intervals)
