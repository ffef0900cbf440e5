"""A source and a pipeline in, a report with a verdict on the whole out; sinks see every frame."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Protocol

from istvt.errors import BrokenSourceError
from istvt.records import Frame, Verdict
from istvt.runtime.pipeline import Pipeline
from istvt.runtime.policy import SourceJudge, VerdictPolicy
from istvt.runtime.results import FrameResult
from istvt.runtime.stages import StageTimers
from istvt.video.source import Source


class Sink(Protocol):
    """Takes what the pipeline says of each frame."""

    def take(self, result: FrameResult) -> bool:
        """Take one frame; returns False to ask for the end."""
        ...

    def finish(self, report: "SessionReport") -> None:
        """Take the verdicts of the tracks that ran to the end, and that on the whole."""
        ...


@dataclass(frozen=True)
class SessionReport:
    """What came of one source.

    Attributes:
        verdict: on the whole source.
        last_tracks: verdicts of the tracks that still ran at the end.
        tracks: how many there were in all.
        frames_dropped: pictures of a live source that came while another was being worked on.
        partial: why the source was not read to its end; None where it was.
        was_interrupted: the user stopped it.
    """

    source: str
    verdict: Verdict
    last_tracks: tuple[Verdict, ...]
    tracks: int
    frames_read: int
    frames_declared: int | None
    frames_dropped: int
    partial: str | None
    was_interrupted: bool


class TrackList:
    """A sink that keeps the latest tracks' verdicts.

    Args:
        keep: how many; None keeps all, for recordings, which end.
    """

    def __init__(self, *, keep: int | None = None) -> None:
        self.verdicts: deque[Verdict] = deque(maxlen=keep)

    def take(self, result: FrameResult) -> bool:
        """Keep the tracks that ended."""
        self.verdicts.extend(result.ended)
        return True

    def finish(self, report: SessionReport) -> None:
        """Keep the rest."""
        self.verdicts.extend(report.last_tracks)


def run_session(
    source: Source,
    pipeline: Pipeline,
    *,
    policy: VerdictPolicy,
    sinks: Sequence[Sink] = (),
    max_frames: int | None = None,
) -> SessionReport:
    """Run a source to its end, to `max_frames`, to a sink's wish or to Ctrl-C.

    A source that breaks ends in a report that says so; every other error passes through.
    """
    judge = SourceJudge(policy)
    end_s = 0.0
    partial: str | None = None
    was_interrupted = False
    try:
        for frame in _timed(source, pipeline.timers, max_frames=max_frames):
            result = pipeline.feed(frame)
            end_s = frame.time_s
            for verdict in result.ended:
                judge.add(verdict)
            wishes = [sink.take(result) for sink in sinks]
            if not all(wishes):
                break
    except BrokenSourceError as error:
        partial = str(error)
    except KeyboardInterrupt:
        was_interrupted = True
    last_tracks = pipeline.finish()
    for verdict in last_tracks:
        judge.add(verdict)
    report = SessionReport(
        source=source.name,
        verdict=judge.verdict(end_s=end_s, broken=partial),
        last_tracks=last_tracks,
        tracks=judge.tracks,
        frames_read=source.frames_read,
        frames_declared=source.frames_declared,
        frames_dropped=source.frames_dropped,
        partial=partial,
        was_interrupted=was_interrupted,
    )
    for sink in sinks:
        sink.finish(report)
    return report


def _timed(source: Source, timers: StageTimers, *, max_frames: int | None) -> Iterator[Frame]:
    """Give the source's frames, and count the wait for each as the stage `read`."""
    frames = iter(source)
    for _ in range(max_frames) if max_frames is not None else count():
        with timers.time("read"):
            frame = next(frames, None)
        if frame is None:
            return
        yield frame
