"""A scorer in, the times of its streamed frames out.

Both stages are timed inside the whole frame, one after the other as in a stream, and not in loops
of their own, where each would find its own weights in the cache.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import TypeAlias

import numpy as np

from istvt.benchmarks.timing import FrameTime
from istvt.presets import ModelPreset
from istvt.records import UInt8Array
from istvt.runtime.scorer import Features, Scorer

Clock: TypeAlias = Callable[[], float]


class StreamedFrame:
    """One new face encoded and one window scored, the other faces' features kept."""

    def __init__(self, scorer: Scorer, *, clock: Clock = time.perf_counter) -> None:
        self.device, self.precision = scorer.info.device, scorer.info.precision
        self._scorer, self._clock = scorer, clock
        faces = noise_faces(scorer.info.preset)
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


def noise_faces(preset: ModelPreset) -> UInt8Array:
    """Make one window's faces `(T, S, S, 3)`; what they show does not change the time."""
    shape = (preset.num_frames, preset.image_size, preset.image_size, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def _one_by_one(faces: UInt8Array) -> Iterator[UInt8Array]:
    return cycle([faces[i : i + 1] for i in range(len(faces))])
