"""Frames of one source in, tracked faces with running verdicts out.

source -> frame -> cut? -> faces -> sampled? -> crop -> features -> window -> score -> verdict
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np

from istvt.bundle.manifest import ScorePolicy
from istvt.faces.align import cut_face
from istvt.faces.track import FaceTracker, TrackedFace
from istvt.presets import ModelConfig
from istvt.records import Frame, Score, Verdict, Window
from istvt.runtime.policy import TrackJudge, VerdictPolicy, to_score
from istvt.runtime.results import FrameResult, TrackView
from istvt.runtime.stages import StageTimers
from istvt.runtime.window import WindowBuffer
from istvt.scorer import Features, Scorer
from istvt.video.cuts import CutDetector
from istvt.video.sampling import FrameSampler

MAX_FACES_A_BATCH = 8  # bounds the memory that a crowd takes


@dataclass
class _Track:
    """What is kept of one track: its last T - 1 features and the sums of its judge."""

    buffer: WindowBuffer[Features]
    judge: TrackJudge
    window: Score | None = None


class Pipeline:
    """Follows one source; scores the faces of a frame in one batch.

    Memory is flat: a track keeps T features at most, and is forgotten when it has ended.

    Args:
        scorer, tracker: what encodes and scores, and what finds faces.
        config: of the model.
        verdicts, scores: how scores become verdicts, and logits scores.
        timers: take the stages' times.
        times_encoder: wait for the device after each `encode`, for its time to be in that stage
            and not in `score`; without it the device is not waited for.
    """

    def __init__(
        self,
        scorer: Scorer,
        tracker: FaceTracker,
        config: ModelConfig,
        *,
        verdicts: VerdictPolicy,
        scores: ScorePolicy,
        timers: StageTimers | None = None,
        times_encoder: bool = False,
    ) -> None:
        self.timers = timers or StageTimers()
        self._times_encoder = times_encoder
        self._scorer = scorer
        self._tracker = tracker
        self._config = config
        self._verdicts = verdicts
        self._scores = scores
        self._sampler = FrameSampler(config.sampling)
        self._cuts = CutDetector()
        self._tracks: dict[int, _Track] = {}

    def feed(self, frame: Frame) -> FrameResult:
        """Take the next frame of the source."""
        with self.timers.time("cut"):
            is_cut = self._cuts.is_cut(frame.image)
        ended = self._end_all() if is_cut else []
        with self.timers.time("faces"):
            faces = self._tracker.update(frame)
        ended += self._end(self._tracks.keys() - self._tracker.ids)
        for face in faces:
            self._track_of(face, frame).window = None
        is_sampled = self._sampler.takes(frame.index, frame.time_s)  # of every frame, faces or not
        for start in range(0, len(faces) if is_sampled else 0, MAX_FACES_A_BATCH):
            self._score(frame, faces[start : start + MAX_FACES_A_BATCH])
        return FrameResult(
            frame=frame,
            tracks=tuple(self._view(face) for face in faces),
            ended=tuple(ended),
            is_cut=is_cut,
        )

    def finish(self) -> tuple[Verdict, ...]:
        """End every track that still runs; the source is over."""
        return tuple(self._end_all())

    def _score(self, frame: Frame, faces: Sequence[TrackedFace]) -> None:
        with self.timers.time("crop"):
            crops = [cut_face(frame.image, face.face, self._config.crop) for face in faces]
        with self.timers.time("encode"):
            features = self._scorer.encode(np.stack(crops))
            if self._times_encoder:
                self._scorer.synchronize()
        windows = self._push(frame, faces, features)
        if windows:
            with self.timers.time("score"):
                logits = self._scorer.score([window.items for window in windows])
            for window, logit in zip(windows, logits, strict=True):
                self._take_logit(window, float(logit))

    def _push(
        self, frame: Frame, faces: Sequence[TrackedFace], features: Iterable[Features]
    ) -> list[Window[Features]]:
        windows = []
        for face, item in zip(faces, features, strict=True):
            track = self._track_of(face, frame)
            window = track.buffer.push(item, index=frame.index, time_s=frame.time_s)
            track.judge.see(frame.time_s, gaps=track.buffer.gaps)
            if window is not None:
                windows.append(window)
        return windows

    def _take_logit(self, window: Window[Features], logit: float) -> None:
        track = self._tracks[window.track_id]
        if not isfinite(logit):
            track.judge.add_broken()
            return
        track.window = to_score(logit, self._scores)
        track.judge.add(track.window)

    def _track_of(self, face: TrackedFace, frame: Frame) -> _Track:
        known = self._tracks.get(face.track_id)
        if known is not None:
            return known
        track = _Track(
            buffer=WindowBuffer(
                face.track_id, self._config.preset.num_frames, is_gap=self._sampler.is_gap
            ),
            judge=TrackJudge(face.track_id, start_s=frame.time_s, policy=self._verdicts),
        )
        self._tracks[face.track_id] = track
        return track

    def _view(self, face: TrackedFace) -> TrackView:
        track = self._tracks[face.track_id]
        judge = track.judge
        return TrackView(
            track_id=face.track_id,
            face=face.face,
            kind=judge.kind,
            probability=judge.smoothed if judge.windows else None,
            window=track.window,
            filled=len(track.buffer),
            needed=self._config.preset.num_frames,
        )

    def _end_all(self) -> list[Verdict]:
        self._tracker.reset()
        return self._end(list(self._tracks))

    def _end(self, ids: Iterable[int]) -> list[Verdict]:
        return [self._tracks.pop(track_id).judge.verdict() for track_id in sorted(ids)]
