"""One process at a time in a folder; a killed one holds nothing."""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

from istvt.errors import UsageError

LOCK_FILE = ".lock"
POLL_S = 0.1

log = logging.getLogger(__name__)


@contextmanager
def locked(folder: Path, *, wait_s: float | None = None) -> Iterator[bool]:
    """Wait until no other process holds the folder, and hold it; made where it is missing.

    Args:
        folder: to hold. Who holds it may remove it.
        wait_s: at most; None is as long as it takes.

    Yields:
        Whether it is held: some file systems and operating systems have no such locks.

    Raises:
        UsageError: another process still holds it.
    """
    stream, has_locks = _take(folder, None if wait_s is None else time.monotonic() + wait_s)
    with stream:
        try:
            yield has_locks
        finally:
            if has_locks:
                _let_go(stream)


def _take(folder: Path, end_s: float | None) -> tuple[TextIO, bool]:
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            stream = (folder / LOCK_FILE).open("w")
        except FileNotFoundError:  # who held the folder has just removed it
            continue
        with ExitStack() as stack:
            stack.enter_context(stream)
            has_locks = _lock(stream, folder, end_s)
            if not has_locks or _is_at(stream, folder / LOCK_FILE):
                stack.pop_all()
                return stream, has_locks


def _lock(stream: TextIO, folder: Path, end_s: float | None) -> bool:
    try:
        import fcntl
    except ModuleNotFoundError:  # not on Windows
        return False
    is_told = False
    while True:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if end_s is not None and time.monotonic() >= end_s:
                raise UsageError(
                    f"another process works in {folder}: wait until it has ended, or name another "
                    "folder"
                ) from None
            if not is_told:
                log.warning("another process works in %s: waiting until it has ended", folder)
                is_told = True
            time.sleep(POLL_S)
        except OSError:
            return False
        else:
            return True


def _is_at(stream: TextIO, path: Path) -> bool:
    """Say whether it is still this file that others would lock."""
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _let_go(stream: TextIO) -> None:
    """Unlock for every process that has inherited the file, too."""
    import fcntl

    fcntl.flock(stream, fcntl.LOCK_UN)
