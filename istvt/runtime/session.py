"""A source and a pipeline in, a report with a verdict on the whole out; sinks see every frame."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

from istvt.errors import SourceError
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

    def close(self) -> None:
        """Let go of files and windows; called whatever ended the session."""
        ...


@dataclass(frozen=True)
class SessionReport:
    """What came of one source.

    Attributes:
        verdict: on the whole source.
        last_tracks: verdicts of the tracks that still ran at the end.
        tracks: how many there were in all.
        frames_dropped: pictures of a live source that came while another was being worked on.
        is_live: whether the source was a camera or a stream.
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
    is_live: bool
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

    def close(self) -> None:
        """There is nothing to let go of."""


def run_session(
    source: Source,
    pipeline: Pipeline,
    *,
    policy: VerdictPolicy,
    sinks: Sequence[Sink] = (),
    max_frames: int | None = None,
) -> SessionReport:
    """Run a source to its end, to `max_frames`, to a sink's wish or to Ctrl-C.

    A source that breaks ends in a report that says so; every other error passes through, after the
    sinks have been closed.
    """
    with ExitStack() as stack:
        for sink in sinks:
            stack.callback(sink.close)
        end = _run(source, pipeline, policy=policy, sinks=sinks, max_frames=max_frames)
        last_tracks = pipeline.finish()
        for verdict in last_tracks:
            end.judge.add(verdict)
        partial = end.broken or _stopped_early(source, end)
        report = SessionReport(
            source=source.name,
            verdict=end.judge.verdict(end_s=end.last_s, broken=partial),
            last_tracks=last_tracks,
            tracks=end.judge.tracks,
            frames_read=source.frames_read,
            frames_declared=source.frames_declared,
            frames_dropped=source.frames_dropped,
            is_live=source.is_live,
            partial=partial,
            was_interrupted=end.was_interrupted,
        )
        for sink in sinks:
            sink.finish(report)
    return report


@dataclass
class _End:
    """How far a session came, and what stopped it."""

    judge: SourceJudge
    last_s: float = 0.0
    broken: str | None = None
    was_stopped: bool = False
    was_interrupted: bool = False


def _run(
    source: Source,
    pipeline: Pipeline,
    *,
    policy: VerdictPolicy,
    sinks: Sequence[Sink],
    max_frames: int | None,
) -> _End:
    end = _End(SourceJudge(policy))
    try:
        for frame in _timed(source, pipeline.timers):
            result = pipeline.feed(frame)
            end.last_s = frame.time_s
            for verdict in result.ended:
                end.judge.add(verdict)
            wishes = [sink.take(result) for sink in sinks]
            if not all(wishes) or source.frames_read == max_frames:
                end.was_stopped = True
                break
    except SourceError as error:
        end.broken = str(error)
    except KeyboardInterrupt:
        end.was_interrupted = True
    return end


def _stopped_early(source: Source, end: _End) -> str | None:
    """Say so where a recording was left before its end; a live source has none."""
    was_left = end.was_stopped or end.was_interrupted
    if source.is_live or not was_left or source.frames_read == source.frames_declared:
        return None
    declared = source.frames_declared
    of_all = "" if declared is None else f" of {declared}"
    return f"stopped after {source.frames_read}{of_all} frames"


def _timed(source: Source, timers: StageTimers) -> Iterator[Frame]:
    """Give the source's frames, and count the wait for each as the stage `read`."""
    frames = iter(source)
    while True:
        with timers.time("read"):
            frame = next(frames, None)
        if frame is None:
            return
        yield frame
