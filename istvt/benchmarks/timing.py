"""Warm up a subject and sample its frame times."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import TypeAlias

import numpy as np

from istvt.presets import ModelSpec
from istvt.records import UInt8Array
from istvt.scorer import Features, Scorer

WARM_UP_CALLS, WARM_UP_S = 30, 6.0  # stop after either; a noisy machine never settles
STEADY_CALLS, STEADY_TOLERANCE = 3, 0.1


@dataclass(frozen=True)
class FrameTime:
    """The duration of one frame, in two stages."""

    encoder_s: float
    window_s: float

    @property
    def frame_s(self) -> float:
        """The whole frame."""
        return self.encoder_s + self.window_s


TimeFrame: TypeAlias = Callable[[], FrameTime]


def warm_up(time_frame: TimeFrame) -> list[FrameTime]:
    """Run frames until their time has settled, at most `WARM_UP_CALLS` calls or `WARM_UP_S`.

    Times have settled when the slowest of the last `STEADY_CALLS` exceeds the fastest by at most
    `STEADY_TOLERANCE`. First calls are slow for many reasons: OpenVINO compiles for the shape it
    sees, allocators grow, caches fill.
    """
    times = [time_frame()]
    while not _is_settled(times) and len(times) < WARM_UP_CALLS and total_s(times) < WARM_UP_S:
        times.append(time_frame())
    return times


def sample(
    time_frame: TimeFrame, *, seconds: float, at_least: int, usual_s: float
) -> list[FrameTime]:
    """Run frames for a time and return their durations.

    The first call after a pause finds cold caches. It is dropped, unless calls are so long that
    dropping one would waste too much of the turn.

    Args:
        time_frame: called repeatedly.
        seconds: start no call after this much measured time.
        at_least: fewest calls to measure, however long they take.
        usual_s: the duration of one call, from the warm-up.
    """
    if usual_s < seconds / 10:
        time_frame()
    times: list[FrameTime] = []
    while len(times) < at_least or total_s(times) < seconds:
        times.append(time_frame())
    return times


def total_s(times: list[FrameTime]) -> float:
    """Add up the durations of frames."""
    return sum(time.frame_s for time in times)


def _is_settled(times: list[FrameTime]) -> bool:
    latest = [time.frame_s for time in times[-STEADY_CALLS:]]
    return len(latest) == STEADY_CALLS and max(latest) <= (1 + STEADY_TOLERANCE) * min(latest)


Clock: TypeAlias = Callable[[], float]


class StreamedFrame:
    """Encodes one new face and scores one window, with the other faces' features kept."""

    def __init__(self, scorer: Scorer, *, clock: Clock = time.perf_counter) -> None:
        self.device, self.precision = scorer.info.device, scorer.info.precision
        self._scorer, self._clock = scorer, clock
        faces = noise_faces(scorer.info.spec)
        self._features: deque[Features] = deque(scorer.encode(faces), maxlen=len(faces))
        self._faces = _one_by_one(faces)

    def __call__(self) -> FrameTime:
        """Time the next frame."""
        face = next(self._faces)
        start = self._clock()
        self._features.extend(self._scorer.encode(face))
        self._scorer.synchronize()
        encoded = self._clock()
        self._scorer.score([tuple(self._features)])
        return FrameTime(encoder_s=encoded - start, window_s=self._clock() - encoded)


def noise_faces(spec: ModelSpec) -> UInt8Array:
    """Make one window's faces `(T, S, S, 3)` of noise; the content does not affect the time."""
    shape = (spec.num_frames, spec.image_size, spec.image_size, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def _one_by_one(faces: UInt8Array) -> Iterator[UInt8Array]:
    return cycle([faces[i : i + 1] for i in range(len(faces))])
