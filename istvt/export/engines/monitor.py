"""Report the progress and failures of a build, and stop it on Ctrl-C."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from istvt.bundle.flavour import TITLES, Flavour
from istvt.records import Progress

KEPT_MESSAGES = 8


def explain_parser(parser: Any, graph: Path, flavour: Flavour) -> str:
    """Name the first node that could not be read, and its position in a function."""
    lines = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        inside = " in ".join(["", *reversed(error.local_function_stack())])
        reason = " ".join(error.desc().split())
        lines.append(f"  node {error.node_name()!r} ({error.node_operator()}){inside}: {reason}")
    return (
        f"{TITLES[flavour]} cannot read {graph}:\n"
        + "\n".join(lines[:KEPT_MESSAGES])
        + "\nexport the model again with this istvt; if that fails too, use another runtime "
        "(--engine none, then --backend onnxruntime)"
    )


def explain_builder(messages: list[str], graph: Path, flavour: Flavour) -> str:
    """Return the last messages of a failed build, with a remedy that depends on their subject."""
    text = "\n".join(f"  {message}" for message in messages[-KEPT_MESSAGES:])
    lowered = text.lower()
    if "memory" in lowered or "workspace" in lowered:
        remedy = "give a smaller --max-batch, or another --workspace-mb"
    elif "type" in lowered or "precision" in lowered:
        remedy = "export in another precision (--fp16, --bf16 or --fp32)"
    else:
        remedy = "export in another precision, or for fewer GPUs (--compute-capability)"
    return f"{TITLES[flavour]} cannot build {graph}:\n{text}\n{remedy}"


@contextmanager
def stoppable() -> Iterator[Callable[[], bool]]:
    """Record Ctrl-C instead of raising it in the library, which a Python error would abort."""
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


def make_monitor(trt: ModuleType, progress: Progress, is_stopped: Callable[[], bool]) -> Any:
    """Make a monitor that reports the builder's outermost phase and stops after Ctrl-C."""

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
