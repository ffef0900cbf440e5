"""Paths and a scorer in, a report for each recording out."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from istvt.errors import SourceError, SourceNotFoundError
from istvt.records import Progress, Verdict, VerdictKind, ignore
from istvt.runtime.pipeline import Pipeline
from istvt.runtime.policy import VerdictPolicy
from istvt.runtime.results import FrameResult
from istvt.runtime.session import SessionReport, Sink, TrackList, run_session
from istvt.video.source import VIDEO_SUFFIXES, Source, open_source

FRAMES_BETWEEN_NEWS = 10
Scored: TypeAlias = tuple[SessionReport, list[Verdict]]


def find_sources(paths: Sequence[Path]) -> list[Path]:
    """List the videos of folders, in order of their names, and whatever else was named.

    A folder without videos stays as it is: it may be a folder of images.

    Raises:
        SourceNotFoundError: a path is not there.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise SourceNotFoundError(f"{path}: there is no such file or folder")
        videos = sorted(
            child for child in path.rglob("*") if child.suffix.lower() in VIDEO_SUFFIXES
        )
        found += videos if path.is_dir() and videos else [path]
    return found


def score_sources(
    paths: Sequence[Path],
    make_pipeline: Callable[[], Pipeline],
    *,
    policy: VerdictPolicy,
    progress: Progress = ignore,
) -> list[Scored]:
    """Judge recordings one after another; one that cannot be read does not stop the rest.

    Args:
        paths: from `find_sources`.
        make_pipeline: gives a fresh pipeline for each recording.
        policy: of the verdicts.
        progress: told ("files", done, total), and (name, frames read, frames declared).

    Raises:
        SourceError: there is one path only, and it cannot be read at all.
    """
    scored: list[Scored] = []
    for done, path in enumerate(paths):
        progress("files", done, len(paths))
        try:
            scored.append(_score_source(path, make_pipeline(), policy, progress))
        except SourceError as error:
            if len(paths) == 1:
                raise
            scored.append((_unread(path, f"unreadable: {error}"), []))
        except KeyboardInterrupt:
            scored.append((_unread(path, "interrupted", was_interrupted=True), []))
        if scored[-1][0].was_interrupted:
            break
    progress("files", len(scored), len(paths))
    return scored


class _FrameCount:
    """A sink that tells how far a recording has been read."""

    def __init__(self, source: Source, progress: Progress) -> None:
        self._source, self._progress = source, progress

    def take(self, result: FrameResult) -> bool:
        if self._source.frames_declared and self._source.frames_read % FRAMES_BETWEEN_NEWS == 0:
            name = Path(self._source.name).name
            self._progress(name, self._source.frames_read, self._source.frames_declared)
        return True

    def finish(self, report: SessionReport) -> None:
        pass

    def close(self) -> None:
        pass


def _score_source(
    path: Path, pipeline: Pipeline, policy: VerdictPolicy, progress: Progress
) -> Scored:
    tracks = TrackList()
    with open_source(path) as source:
        sinks: list[Sink] = [tracks, _FrameCount(source, progress)]
        report = run_session(source, pipeline, policy=policy, sinks=sinks)
    return report, list(tracks.verdicts)


def _unread(path: Path, reason: str, *, was_interrupted: bool = False) -> SessionReport:
    verdict = Verdict(VerdictKind.INCONCLUSIVE, None, None, 0.0, 0.0, reason)
    return SessionReport(
        source=str(path),
        verdict=verdict,
        last_tracks=(),
        tracks=0,
        frames_read=0,
        frames_declared=None,
        frames_dropped=0,
        is_live=False,
        partial=reason,
        was_interrupted=was_interrupted,
    )
