"""Judge recordings, files and whole folders, one after another."""

from collections.abc import Callable, Sequence
from pathlib import Path

from istvt.errors import SourceError, SourceNotFoundError
from istvt.records import Progress, Verdict, VerdictKind, ignore
from istvt.runtime.pipeline import FrameResult
from istvt.runtime.session import Session, SessionReport, Sink
from istvt.video.source import VIDEO_SUFFIXES, Source, open_source

FRAMES_BETWEEN_NEWS = 10


def find_sources(paths: Sequence[Path]) -> list[Path]:
    """List the videos of folders, sorted by name, and every other path as it is.

    A folder without videos is kept too: it may be a folder of images.

    Raises:
        SourceNotFoundError: a path does not exist.
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
    make_session: Callable[[Source], Session],
    *,
    progress: Progress = ignore,
) -> list[SessionReport]:
    """Judge recordings one after another; an unreadable one does not stop the rest.

    Args:
        paths: from `find_sources`.
        make_session: returns a fresh session, with a fresh pipeline, for each recording.
        progress: called with ("files", done, total) and (name, frames read, frames declared).

    Raises:
        SourceError: the only path cannot be read at all.
    """
    reports: list[SessionReport] = []
    for done, path in enumerate(paths):
        progress("files", done, len(paths))
        try:
            with open_source(path) as source:
                reports.append(make_session(source).run([_FrameCount(source, progress)]))
        except SourceError as error:
            if len(paths) == 1:
                raise
            reports.append(_unread(path, f"unreadable: {error}"))
        except KeyboardInterrupt:
            reports.append(_unread(path, "interrupted", was_interrupted=True))
        if reports[-1].was_interrupted:
            break
    progress("files", len(reports), len(paths))
    return reports


class _FrameCount(Sink):
    """Reports how many frames of a recording have been read."""

    def __init__(self, source: Source, progress: Progress) -> None:
        self._source, self._progress = source, progress

    def take(self, result: FrameResult) -> bool:
        if self._source.frames_declared and self._source.frames_read % FRAMES_BETWEEN_NEWS == 0:
            name = Path(self._source.name).name
            self._progress(name, self._source.frames_read, self._source.frames_declared)
        return True


def _unread(path: Path, reason: str, *, was_interrupted: bool = False) -> SessionReport:
    verdict = Verdict(VerdictKind.INCONCLUSIVE, None, None, 0.0, 0.0, reason)
    return SessionReport(str(path), verdict, partial=reason, was_interrupted=was_interrupted)
