"""One process at a time in a folder; a killed one holds nothing."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from istvt.errors import UsageError

LOCK_FILE = ".lock"
POLL_S = 0.1

log = logging.getLogger(__name__)


@contextmanager
def locked(folder: Path, *, wait_s: float | None = None) -> Iterator[bool]:
    """Wait until no other process holds the folder, and hold it.

    Args:
        folder: is there.
        wait_s: at most; None is as long as it takes.

    Yields:
        Whether it is held: some file systems and operating systems have no such locks.

    Raises:
        UsageError: another process still holds it.
    """
    with (folder / LOCK_FILE).open("w") as stream:
        yield _lock(stream.fileno(), folder, wait_s)


def _lock(handle: int, folder: Path, wait_s: float | None) -> bool:
    try:
        import fcntl
    except ModuleNotFoundError:  # not on Windows
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        limit = "" if wait_s is None else f", {wait_s:g} s at most"
        log.warning("another process works in %s: waiting until it has ended%s", folder, limit)
        if wait_s is None:
            fcntl.flock(handle, fcntl.LOCK_EX)
        else:
            _poll(lambda: fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB), folder, wait_s)
    except OSError:
        return False
    return True


def _poll(take: Callable[[], None], folder: Path, wait_s: float) -> None:
    end_s = time.monotonic() + wait_s
    while True:
        try:
            return take()
        except BlockingIOError:
            if time.monotonic() >= end_s:
                raise UsageError(
                    f"another process works in {folder}: wait until it has ended, or name another "
                    "folder"
                ) from None
            time.sleep(POLL_S)
