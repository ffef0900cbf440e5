"""Follow the faces of one source and keep a running verdict on each.

frame -> see: cut? faces, sampled? crops -> (encoder) -> take: windows -> (model) -> judge: verdicts

The hub runs the steps in brackets, for many pipelines at once.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TypeAlias

import numpy as np

from istvt.bundle.manifest import ScorePolicy
from istvt.faces.align import cut_face
from istvt.faces.track import FaceTracker, TrackedFace
from istvt.presets import ModelConfig
from istvt.records import Face, Frame, Score, UInt8Array, Verdict, VerdictKind, Window
from istvt.runtime.policy import TrackJudge, VerdictPolicy, to_score
from istvt.runtime.stages import StageTimers
from istvt.runtime.window import WindowBuffer
from istvt.scorer import Features
from istvt.video.cuts import CutDetector
from istvt.video.sampling import FrameSampler


@dataclass(frozen=True, eq=False)
class TrackView:
    """One face of one frame, and the state of its track.

    Attributes:
        kind: the running verdict.
        probability: the running, smoothed fake probability; None before the first window.
        window: the score of the window that ends on this frame, if any.
        filled: sampled faces since the last gap, at most `needed`.
        needed: faces in a window.
        crops: the faces `(S, S, 3)` of `window`, oldest first, if the pipeline keeps crops.
    """

    track_id: int
    face: Face
    kind: VerdictKind
    probability: float | None
    window: Score | None
    filled: int
    needed: int
    crops: tuple[UInt8Array, ...] = ()


@dataclass(frozen=True, eq=False)
class FrameResult:
    """One frame with its tracks, as sinks receive it.

    Attributes:
        ended: verdicts of the tracks that ended before this frame.
        is_cut: whether the scene changed at this frame, which ends all earlier tracks.
    """

    frame: Frame
    tracks: tuple[TrackView, ...]
    ended: tuple[Verdict, ...]
    is_cut: bool


@dataclass(frozen=True, eq=False)
class Seen:
    """A frame before anything is scored.

    Attributes:
        crops: `(n, S, S, 3)`, one for each of `faces`; n is 0 if the frame is not sampled.
        ended: verdicts of the tracks that ended before this frame.
    """

    frame: Frame
    faces: tuple[TrackedFace, ...]
    crops: UInt8Array
    ended: tuple[Verdict, ...]
    is_cut: bool


@dataclass(frozen=True, eq=False)
class SampledFace:
    """One face of a window; `crop` is None unless the pipeline keeps crops."""

    features: Features
    crop: UInt8Array | None


FaceWindow: TypeAlias = Window[SampledFace]


@dataclass
class _Track:
    """One track's last T faces and its judge."""

    buffer: WindowBuffer[SampledFace]
    judge: TrackJudge


class Pipeline:
    """Follows one source; for each frame call `see`, `take` and `judge` in turn, as a `Hub` does.

    Memory is constant: a track keeps at most T faces and is forgotten once it has ended.

    Args:
        tracker: finds faces.
        config: the model's.
        verdicts, scores: turn scores into verdicts, and logits into scores.
        timers: measure the stages.
        keeps_crops: keep the crops of a track's last T faces beside their features, and return
            the crops of each scored window.
    """

    def __init__(
        self,
        tracker: FaceTracker,
        config: ModelConfig,
        *,
        verdicts: VerdictPolicy,
        scores: ScorePolicy,
        timers: StageTimers | None = None,
        keeps_crops: bool = False,
    ) -> None:
        self.timers = timers or StageTimers()
        self._tracker = tracker
        self._config = config
        self._verdicts = verdicts
        self._scores = scores
        self._keeps_crops = keeps_crops
        self._sampler = FrameSampler(config.sampling)
        self._cuts = CutDetector()
        self._tracks: dict[int, _Track] = {}

    def see(self, frame: Frame) -> Seen:
        """Find the faces in the source's next frame, and crop them if it is sampled."""
        if frame.starts_anew:  # its index and time may have restarted too
            self._sampler, self._cuts = FrameSampler(self._config.sampling), CutDetector()
        with self.timers.time("cut"):
            is_cut = self._cuts.is_cut(frame.image)
        ended = self._end_all() if is_cut or frame.starts_anew else []
        with self.timers.time("faces"):
            faces = self._tracker.update(frame)
        ended += self._end(self._tracks.keys() - self._tracker.ids)
        for face in faces:
            if face.track_id not in self._tracks:
                self._tracks[face.track_id] = self._begin(face.track_id, frame)
        is_sampled = self._sampler.takes(frame.index, frame.time_s)  # of every frame, faces or not
        return Seen(
            frame=frame,
            faces=tuple(faces),
            crops=self._crop(frame, faces if is_sampled else ()),
            ended=tuple(ended),
            is_cut=is_cut,
        )

    def take(self, seen: Seen, features: Sequence[Features]) -> list[FaceWindow]:
        """Add the features of the crops, in their order.

        Returns:
            The windows that end on this frame.
        """
        frame, windows = seen.frame, []
        faces = seen.faces if len(seen.crops) else ()
        for face, crop, item in zip(faces, seen.crops, features, strict=True):
            track = self._tracks[face.track_id]
            # a copy, since a view would keep the crops of all faces alive
            sampled = SampledFace(item, crop.copy() if self._keeps_crops else None)
            window = track.buffer.push(sampled, index=frame.index, time_s=frame.time_s)
            track.judge.see(frame.time_s, gaps=track.buffer.gaps)
            if window is not None:
                windows.append(window)
        return windows

    def judge(
        self, seen: Seen, windows: Sequence[FaceWindow], logits: Iterable[float]
    ) -> FrameResult:
        """Turn the logits of the windows from `take` into running verdicts."""
        scored: dict[int, tuple[Score, FaceWindow]] = {}
        for window, logit in zip(windows, logits, strict=True):
            judge = self._tracks[window.track_id].judge
            if isfinite(logit):
                score = to_score(logit, self._scores)
                scored[window.track_id] = score, window
                judge.add(score)
            else:
                judge.add_broken()
        return FrameResult(
            frame=seen.frame,
            tracks=tuple(self._view(face, scored.get(face.track_id)) for face in seen.faces),
            ended=seen.ended,
            is_cut=seen.is_cut,
        )

    def finish(self) -> tuple[Verdict, ...]:
        """End every track that still runs, since the source is over."""
        return tuple(self._end_all())

    def _crop(self, frame: Frame, faces: Sequence[TrackedFace]) -> UInt8Array:
        if not faces:
            size = self._config.crop.size_px
            return np.zeros((0, size, size, 3), np.uint8)
        with self.timers.time("crop"):
            return np.stack([cut_face(frame.image, face.face, self._config.crop) for face in faces])

    def _begin(self, track_id: int, frame: Frame) -> _Track:
        return _Track(
            WindowBuffer(track_id, self._config.preset.num_frames, is_gap=self._sampler.is_gap),
            TrackJudge(track_id, start_s=frame.time_s, policy=self._verdicts),
        )

    def _view(self, face: TrackedFace, scored: tuple[Score, FaceWindow] | None) -> TrackView:
        track = self._tracks[face.track_id]
        judge = track.judge
        score, items = (scored[0], scored[1].items) if scored else (None, ())
        return TrackView(
            track_id=face.track_id,
            face=face.face,
            kind=judge.kind,
            probability=judge.smoothed if judge.windows else None,
            window=score,
            filled=len(track.buffer),
            needed=self._config.preset.num_frames,
            crops=tuple(sampled.crop for sampled in items if sampled.crop is not None),
        )

    def _end_all(self) -> list[Verdict]:
        self._tracker.reset()
        return self._end(list(self._tracks))

    def _end(self, ids: Iterable[int]) -> list[Verdict]:
        return [self._tracks.pop(track_id).judge.verdict() for track_id in sorted(ids)]
