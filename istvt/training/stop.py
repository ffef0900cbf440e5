"""Signals in, an orderly end of a training out."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

SAME_REQUEST_S = 1.0  # a terminal's Ctrl-C reaches a process twice where torchrun passes it on


class TrainingStopped(KeyboardInterrupt):
    """A training ended on request; what it did is kept.

    Attributes:
        run: the folder to resume.
        epoch, step: what was finished last; step 0 is the end of the epoch before.
    """

    def __init__(self, run: Path, *, epoch: int, step: int) -> None:
        super().__init__(f"stopped in epoch {epoch} after step {step}")
        self.run, self.epoch, self.step = run, epoch, step


class StopRequest:
    """Whether a signal has asked for the end."""

    def __init__(self) -> None:
        self.is_set = False
        self._asked_s = 0.0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Note the request; a second Ctrl-C gives up at once what is under way."""
        now_s = time.monotonic()
        is_again = self.is_set and now_s - self._asked_s > SAME_REQUEST_S
        if is_again and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.is_set:
            self.is_set, self._asked_s = True, now_s


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Take SIGINT and SIGTERM as requests while the block runs.

    Outside the main thread, where Python allows no handlers, nothing is taken.
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
