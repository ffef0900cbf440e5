"""One process at a time in a folder; a killed one holds nothing."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK_FILE = ".lock"

log = logging.getLogger(__name__)


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Wait until no other process holds the folder, and hold it.

    Yields:
        Whether it is held: some file systems and operating systems have no such locks.
    """
    with (folder / LOCK_FILE).open("w") as stream:
        yield _lock(stream.fileno(), folder)


def _lock(handle: int, folder: Path) -> bool:
    try:
        import fcntl
    except ModuleNotFoundError:  # not on Windows
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.warning("another process works in %s: waiting until it has ended", folder)
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError:
        return False
    return True
