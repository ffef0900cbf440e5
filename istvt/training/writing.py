"""A full or locked disk in, the error that says what to do out."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from istvt.errors import RuntimeEnvironmentError
from istvt.extras import require
from istvt.training.checkpoint import LAST_FILE


@contextmanager
def writing(run: Path, *, room_bytes: int | None = None) -> Iterator[None]:
    """Write files of a run in the block.

    Args:
        run: the folder.
        room_bytes: what all of it takes, where that is known.

    Raises:
        RuntimeEnvironmentError: a file cannot be written.
    """
    try:
        yield
    except Exception as error:
        reason = _reason(error)
        if reason is None:
            raise
        room = f" for up to {room_bytes / 1e6:,.0f} MB" if room_bytes else ""
        then = (
            "nothing kept before is lost, go on with --resume"
            if (run / LAST_FILE).exists()
            else "or name another folder, and start again"
        )
        raise RuntimeEnvironmentError(
            f"{run} cannot be written ({reason}): give it room{room} and permission; {then}"
        ) from error


def _reason(error: Exception) -> str | None:
    """Say why a writer failed; None if it is another error."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, require("safetensors", extra="train").SafetensorError):
        return str(error)
    return None
