"""Lock a folder for one process at a time; a killed process releases its lock."""

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
    """Hold a folder while the block runs, after waiting for other processes; create it if missing.

    Args:
        folder: the folder to hold; its holder may remove it.
        wait_s: longest time to wait; None waits without limit.

    Yields:
        Whether it is held; some file systems and operating systems have no such locks.

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
        except FileNotFoundError:  # its holder has just removed the folder
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
                    f"another process is working in {folder}: wait until it ends, or name another "
                    "folder"
                ) from None
            if not is_told:
                log.warning("another process is working in %s: waiting until it ends", folder)
                is_told = True
            time.sleep(POLL_S)
        except OSError:
            return False
        else:
            return True


def _is_at(stream: TextIO, path: Path) -> bool:
    """Check whether other processes would still lock this very file."""
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _let_go(stream: TextIO) -> None:
    """Unlock, also for every process that has inherited the file."""
    import fcntl

    fcntl.flock(stream, fcntl.LOCK_UN)
