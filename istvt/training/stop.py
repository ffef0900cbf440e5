"""End a training in an orderly manner on a signal."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

SAME_REQUEST_S = 1.0  # torchrun passes Ctrl-C on, so a terminal's reaches a process twice


class TrainingStopped(KeyboardInterrupt):
    """A training ended on request; its progress is kept.

    Attributes:
        run: the folder to resume.
        epoch, step: the last finished ones; step 0 is the end of the previous epoch.
    """

    def __init__(self, run: Path, *, epoch: int, step: int) -> None:
        super().__init__(f"stopped in epoch {epoch} after step {step}")
        self.run, self.epoch, self.step = run, epoch, step


class StopRequest:
    """Whether a signal has requested the end."""

    def __init__(self) -> None:
        self.is_set = False
        self._asked_s = 0.0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Record the request; a second Ctrl-C aborts the current work at once."""
        now_s = time.monotonic()
        is_again = self.is_set and now_s - self._asked_s > SAME_REQUEST_S
        if is_again and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.is_set:
            self.is_set, self._asked_s = True, now_s


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Treat SIGINT and SIGTERM as requests to stop while the block runs.

    Outside the main thread, where Python allows no handlers, signals are not handled.
    """
    request = StopRequest()
    before = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, request)
    except ValueError:
        yield request
        return
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
