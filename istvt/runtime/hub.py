"""Encode and score the faces of many pipelines in one batch."""

from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np

from istvt.errors import UsageError
from istvt.records import Frame, UInt8Array
from istvt.runtime.pipeline import FaceWindow, FrameResult, Pipeline
from istvt.runtime.stages import StageTimers
from istvt.scorer import Features, Scorer

MAX_FACES_A_BATCH = 8  # bounds the memory that a crowd needs


class Hub:
    """Steps pipelines that share a scorer, one pipeline per camera; not thread-safe.

    Args:
        scorer: encodes and scores.
        max_batch: most crops or windows in one call of the scorer.
        timers: measure `encode` and `score`; may be a pipeline's own.
        times_encoder: wait for the device after each `encode`, so that its time counts there and
            not in `score`.
    """

    def __init__(
        self,
        scorer: Scorer,
        *,
        max_batch: int = MAX_FACES_A_BATCH,
        timers: StageTimers | None = None,
        times_encoder: bool = False,
    ) -> None:
        if max_batch < 1:
            raise UsageError(f"max_batch is {max_batch}: it must be at least 1")
        self.timers = timers or StageTimers()
        self._scorer = scorer
        self._max_batch = max_batch
        self._times_encoder = times_encoder

    def step(self, frames: Sequence[tuple[Pipeline, Frame]]) -> list[FrameResult]:
        """Take the next frame of each pipeline.

        Returns:
            Their results, in the same order.

        Raises:
            UsageError: a pipeline has two frames; the second needs the first one's results.
        """
        if len({id(pipeline) for pipeline, _ in frames}) < len(frames):
            raise UsageError("a pipeline has two frames in one step: pass only its next frame")
        seen = [(pipeline, pipeline.see(frame)) for pipeline, frame in frames]
        features = iter(self._encode([crop for _, one in seen for crop in one.crops]))
        taken = [
            (pipeline, one, pipeline.take(one, list(islice(features, len(one.crops)))))
            for pipeline, one in seen
        ]
        logits = iter(self._score([window for *_, windows in taken for window in windows]))
        return [
            pipeline.judge(one, windows, islice(logits, len(windows)))
            for pipeline, one, windows in taken
        ]

    def _encode(self, crops: Sequence[UInt8Array]) -> list[Features]:
        features: list[Features] = []
        for batch in self._batches(len(crops)):
            with self.timers.time("encode"):
                features += self._scorer.encode(np.stack(crops[batch]))
                if self._times_encoder:
                    self._scorer.synchronize()
        return features

    def _score(self, windows: Sequence[FaceWindow]) -> list[float]:
        logits: list[float] = []
        for batch in self._batches(len(windows)):
            rows = [[face.features for face in window.items] for window in windows[batch]]
            with self.timers.time("score"):
                logits += map(float, self._scorer.score(rows))
        return logits

    def _batches(self, rows: int) -> Iterable[slice]:
        return (slice(start, start + self._max_batch) for start in range(0, rows, self._max_batch))
