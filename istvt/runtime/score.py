"""Paths and a scorer in, a report for each recording out."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from istvt.errors import BrokenSourceError, SourceError, SourceNotFoundError
from istvt.records import Verdict, VerdictKind
from istvt.runtime.pipeline import Pipeline
from istvt.runtime.policy import VerdictPolicy
from istvt.runtime.session import SessionReport, TrackList, run_session
from istvt.video.source import open_source

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".gif", ".m4v", ".mpg"})
Progress: TypeAlias = Callable[[str, int, int], None]
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
    progress: Progress = lambda stage, done, total: None,
) -> list[Scored]:
    """Judge recordings one after another; one that cannot be read does not stop the rest.

    Args:
        paths: from `find_sources`.
        make_pipeline: gives a fresh pipeline for each recording.
        policy: of the verdicts.
        progress: told ("score", done, total).

    Raises:
        SourceError: there is one path only, and it cannot be read at all.
    """
    scored: list[Scored] = []
    for done, path in enumerate(paths):
        progress("score", done, len(paths))
        try:
            scored.append(_score_source(path, make_pipeline(), policy))
        except SourceError as error:
            if len(paths) == 1:
                raise
            scored.append((_unreadable(path, error), []))
        if scored[-1][0].was_interrupted:
            break
    progress("score", len(scored), len(paths))
    return scored


def _score_source(path: Path, pipeline: Pipeline, policy: VerdictPolicy) -> Scored:
    tracks = TrackList()
    with open_source(path) as source:
        report = run_session(source, pipeline, policy=policy, sinks=[tracks])
    return report, list(tracks.verdicts)


def _unreadable(path: Path, error: SourceError) -> SessionReport:
    read = error.frames_read if isinstance(error, BrokenSourceError) else 0
    verdict = Verdict(VerdictKind.INCONCLUSIVE, None, None, 0.0, 0.0, f"unreadable: {error}")
    return SessionReport(
        source=str(path),
        verdict=verdict,
        last_tracks=(),
        tracks=0,
        frames_read=read,
        frames_declared=None,
        frames_dropped=0,
        partial=str(error),
        was_interrupted=False,
    )
