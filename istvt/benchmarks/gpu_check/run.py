"""Parts in, their results out: each check in a process, so that none can end the others."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import Any, TypeAlias

from istvt.benchmarks.child import ChildProcess
from istvt.benchmarks.gpu_check.parts import Part
from istvt.benchmarks.gpu_check.result import Result, Settings
from istvt.errors import BackendError

COMMAND = (sys.executable, "-m", "istvt.benchmarks.gpu_check.check")
OUT_OF_TIME = "the time for all checks was over"
Clock: TypeAlias = Callable[[], float]


def run_parts(
    parts: Sequence[Part],
    settings: Settings,
    *,
    budget_s: float,
    clock: Clock = time.monotonic,
) -> Iterator[Result]:
    """Run all checks, one after the other.

    A check that crashes or hangs fails, and the next starts in a new process.

    Args:
        parts: in order.
        settings: for all checks.
        budget_s: checks that cannot start within it are not run; a check that it ends in is
            stopped.
        clock: in seconds.
    """
    end_s = clock() + budget_s
    for part in parts:
        with closing(_Runner(part, settings)) as runner:
            for check in part.checks:
                left_s = end_s - clock()
                if left_s <= 0:
                    yield not_run(
                        part, check, f"{OUT_OF_TIME} ({budget_s:.0f} s): run {part.name!r} alone"
                    )
                    continue
                yield runner.run(check, left_s=left_s)


def skip_parts(parts: Sequence[Part], reason: str) -> Iterator[Result]:
    """List all checks as not run."""
    for part in parts:
        for check in part.checks:
            yield not_run(part, check, reason)


def not_run(part: Part, check: str, reason: str) -> Result:
    """Give the row of a check that was not run."""
    return Result(part.name, check, "not run", reason)


class _Runner:
    """Runs the checks of one part; has a process from the first on."""

    def __init__(self, part: Part, settings: Settings) -> None:
        self._part, self._settings = part, settings
        self._child: ChildProcess | None = None

    def run(self, check: str, *, left_s: float) -> Result:
        """Run a check, for at most so long as the part allows and as is left of all the time."""
        child = self._child = self._child or ChildProcess(COMMAND)
        settings = asdict(self._settings)
        child.send({"module": self._part.module, "check": check, "settings": settings})
        try:
            answer = child.receive(timeout_s=min(self._part.timeout_s, left_s))
        except BackendError as error:
            self.close()
            return self._ended(check, str(error), was_cut=left_s < self._part.timeout_s)
        if answer.pop("broken") or self._part.isolated:
            self.close()
        return Result(self._part.name, check, **answer)

    def close(self) -> None:
        """End the process, if there is one."""
        if self._child is not None:
            self._child.close()
        self._child = None

    def _ended(self, check: str, reason: str, *, was_cut: bool) -> Result:
        if was_cut and reason.startswith("no answer"):
            return not_run(
                self._part, check, f"{OUT_OF_TIME}, it was stopped: run {self._part.name!r} alone"
            )
        return Result(self._part.name, check, "fail", reason)


def ask_machine(settings: Settings, *, timeout_s: float = 120.0) -> dict[str, Any]:
    """Look at the GPU in a process of its own.

    Returns:
        What `istvt.benchmarks.gpu_check.machine` says, or only `reason`, why there is none.
    """
    part = Part("machine", "", "istvt.benchmarks.gpu_check.machine", timeout_s)
    with closing(_Runner(part, settings)) as runner:
        result = runner.run("gpu", left_s=timeout_s)
    if result.status != "measured":
        return {"reason": result.note}
    name, _, versions = result.note.partition("; ")
    return {"name": name, "versions": versions, **result.figures}
