"""Run one source through a pipeline and judge it as a whole."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

from istvt.errors import SourceError
from istvt.records import Frame, Verdict
from istvt.runtime.hub import Hub
from istvt.runtime.pipeline import FrameResult, Pipeline
from istvt.runtime.policy import SourceJudge, VerdictPolicy
from istvt.video.source import Source

LIVE_TRACKS_KEPT = 50  # verdicts; a month of them would fill the memory


@dataclass(frozen=True)
class SessionReport:
    """The outcome of one source.

    Attributes:
        verdict: on the whole source.
        last_tracks: verdicts on the tracks that were still running at the end.
        tracks: verdicts on the latest tracks, as many as the session keeps.
        tracks_seen: the number of all tracks.
        frames_dropped: frames of a live source that arrived while another was being processed.
        is_live: whether the source was a camera or a stream.
        partial: why the source was not read to its end; None if it was.
        was_interrupted: whether the user stopped it.
    """

    source: str
    verdict: Verdict
    last_tracks: tuple[Verdict, ...] = ()
    tracks: tuple[Verdict, ...] = ()
    tracks_seen: int = 0
    frames_read: int = 0
    frames_declared: int | None = None
    frames_dropped: int = 0
    is_live: bool = False
    partial: str | None = None
    was_interrupted: bool = False


class Sink(Protocol):
    """Receives each frame's result; subclasses may leave out `finish` and `close`."""

    def take(self, result: FrameResult) -> bool:
        """Take one frame's result; return False to ask for the end."""
        ...

    def finish(self, report: SessionReport) -> None:
        """Take the report: the last tracks' verdicts and the verdict on the source."""
        return

    def close(self) -> None:
        """Release files and windows; called however the session ended."""
        return


class Session:
    """Reads one source once: iterate over it to get each frame's result, or `run` it with sinks.

    A source that breaks ends the loop, and `report` gives the reason. Leaving the loop pauses the
    session; another loop resumes it, until `report` is called. The caller closes source and scorer.

    Args:
        source, pipeline: the pipeline must not have seen another source.
        hub: encodes and scores.
        policy: judges the whole source.
        keep_tracks: how many track verdicts to keep; None keeps all of a recording's and a live
            source's latest 50.
        max_frames: stop after this many frames.
    """

    def __init__(
        self,
        source: Source,
        pipeline: Pipeline,
        *,
        hub: Hub,
        policy: VerdictPolicy,
        keep_tracks: int | None = None,
        max_frames: int | None = None,
    ) -> None:
        self._source = source
        self._frames = iter(source)
        self._pipeline = pipeline
        self._hub = hub
        self._max_frames = max_frames
        self._judge = SourceJudge(policy)
        if keep_tracks is None and source.is_live:
            keep_tracks = LIVE_TRACKS_KEPT
        self._tracks: deque[Verdict] = deque(maxlen=keep_tracks)
        self._last_s = 0.0
        self._is_over = self._was_interrupted = False
        self._broken: str | None = None
        self._report: SessionReport | None = None

    def __iter__(self) -> Iterator[FrameResult]:
        """Yield the results of the frames not read yet."""
        while self._report is None and self._source.frames_read != self._max_frames:
            frame = self._read()
            if frame is None:
                return
            (result,) = self._hub.step([(self._pipeline, frame)])
            self._last_s = frame.time_s
            self._note(result.ended)
            yield result

    def run(self, sinks: Sequence[Sink] = ()) -> SessionReport:
        """Run until the source ends, `max_frames` is reached, a sink asks to stop, or Ctrl-C.

        An error other than the source's is raised after the sinks have been closed.
        """
        with ExitStack() as stack:
            for sink in sinks:
                stack.callback(sink.close)
            try:
                for result in self:
                    wishes = [sink.take(result) for sink in sinks]
                    if not all(wishes):
                        break
            except KeyboardInterrupt:
                self._was_interrupted = True
            report = self.report()
            for sink in sinks:
                sink.finish(report)
        return report

    def report(self) -> SessionReport:
        """End the tracks that still run and return the report; nothing is read afterwards."""
        if self._report is None:
            self._report = self._sum_up(self._pipeline.finish())
        return self._report

    def _sum_up(self, last_tracks: tuple[Verdict, ...]) -> SessionReport:
        self._note(last_tracks)
        source, partial = self._source, self._broken or self._stopped_early()
        return SessionReport(
            source=source.name,
            verdict=self._judge.verdict(end_s=self._last_s, broken=partial),
            last_tracks=last_tracks,
            tracks=tuple(self._tracks),
            tracks_seen=self._judge.tracks,
            frames_read=source.frames_read,
            frames_declared=source.frames_declared,
            frames_dropped=source.frames_dropped,
            is_live=source.is_live,
            partial=partial,
            was_interrupted=self._was_interrupted,
        )

    def _read(self) -> Frame | None:
        try:
            with self._pipeline.timers.time("read"):
                frame = next(self._frames, None)
        except SourceError as error:
            self._broken, frame = str(error), None
        self._is_over = frame is None
        return frame

    def _note(self, verdicts: Sequence[Verdict]) -> None:
        self._tracks.extend(verdicts)
        for verdict in verdicts:
            self._judge.add(verdict)

    def _stopped_early(self) -> str | None:
        """Return a reason if a recording was left before its end; a live source has no end."""
        read, declared = self._source.frames_read, self._source.frames_declared
        if self._source.is_live or self._is_over or read == declared:
            return None
        of_all = "" if declared is None else f" of {declared}"
        return f"stopped after {read}{of_all} frames"
