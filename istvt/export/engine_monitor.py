"""What a build tells while it runs, and how it is stopped."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, ModuleType
from typing import Any, TypeAlias

BuildProgress: TypeAlias = Callable[[str, int, int], None]


@contextmanager
def stoppable() -> Iterator[Callable[[], bool]]:
    """Remember Ctrl-C instead of raising it inside the library, which a Python error would end."""
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()

    if threading.current_thread() is not threading.main_thread():
        yield stopped.is_set
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def make_monitor(trt: ModuleType, progress: BuildProgress, is_stopped: Callable[[], bool]) -> Any:
    """Make the builder's monitor: tells the outermost phase, and stops where Ctrl-C was pressed."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, name: str, parent: str | None, num_steps: int) -> None:
            if parent is None:
                self._steps[name] = num_steps
                progress(name, 0, num_steps)

        def phase_finish(self, name: str) -> None:
            if name in self._steps:
                total = self._steps.pop(name)
                progress(name, total, total)

        def step_complete(self, name: str, step: int) -> bool:
            if name in self._steps:
                progress(name, step + 1, self._steps[name])
            return not is_stopped()

    return Monitor()
