"""Parts in, their results out: each check in a process, so that none can end the others."""

import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

from gpu_check.check import TRACE_CHARS
from gpu_check.parts import Part
from gpu_check.result import Result, Settings
from istvt.child import ChildProcess
from istvt.errors import BackendError

COMMAND = (sys.executable, "-m", "gpu_check.check")
OUT_OF_TIME = "the time for all checks was over"
STILL_BUILDING = "stopped while"
LOGS_FOLDER = "logs"
STACK_HEADING, STACK_LINES = "(most recent call first):", 20  # of `faulthandler`
Clock: TypeAlias = Callable[[], float]


def run_parts(
    parts: Sequence[Part],
    settings: Settings,
    *,
    out: Path,
    budget_s: float,
    since_s: float | None = None,
    clock: Clock = time.monotonic,
) -> Iterator[Result]:
    """Run all checks, one after the other.

    A check that crashes or hangs fails, and the next starts in a new process.

    Args:
        parts: in order.
        settings: for all checks.
        out: of the report; what a check's process prints goes to a file in `LOGS_FOLDER` there.
        budget_s: checks that cannot start within it are not run; a check that it ends in is
            stopped.
        since_s: when the budget began, by the clock; now where None.
        clock: in seconds.
    """
    end_s = budget_s + (clock() if since_s is None else since_s)
    for part in parts:
        with closing(_Runner(part, settings, out)) as runner:
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

    def __init__(self, part: Part, settings: Settings, out: Path) -> None:
        self._part, self._settings, self._out = part, settings, out
        self._child: ChildProcess | None = None

    def run(self, check: str, *, left_s: float) -> Result:
        """Run a check, for at most so long as the part allows and as is left of all the time."""
        timeout_s = min(self._part.timeout_s, left_s)
        log = Path(LOGS_FOLDER) / f"{self._part.name}-{_file_name(check)}.txt"
        path = self._out.absolute() / log
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self._settings.stage_file.unlink(missing_ok=True)
        child = self._child = self._child or ChildProcess(COMMAND)
        child.send(
            {
                "module": self._part.module,
                "check": check,
                "settings": asdict(self._settings),
                "timeout_s": timeout_s,
                "log": str(path),
            }
        )
        start_s = time.monotonic()
        try:
            answer = child.receive(timeout_s=timeout_s)
        except BackendError as error:
            self.close()
            answer = self._ended(str(error), left_s) | {"seconds": time.monotonic() - start_s}
        if answer.pop("broken", False) or self._part.isolated:
            self.close()
        printed = _read_log(path)
        if answer["status"] == "fail":
            answer = {"trace": _end_of(printed)} | answer
        return Result(self._part.name, check, log=log.as_posix() if printed else "", **answer)

    def close(self) -> None:
        """End the process, if there is one."""
        if self._child is not None:
            self._child.close()
        self._child = None

    def _ended(self, reason: str, left_s: float) -> dict[str, Any]:
        """Judge a process that gave no answer."""
        part, stage = self._part, self._settings.stage_file
        is_late = reason.startswith("no answer")
        if is_late and left_s < part.timeout_s:
            note = f"{OUT_OF_TIME}, it was stopped: run {part.name!r} alone"
        elif is_late and stage.is_file():
            what = stage.read_text(encoding="utf-8")
            note = f"{STILL_BUILDING} {what}, after {part.timeout_s:.0f} s"
        else:
            return {"status": "fail", "note": reason, "broken": True}
        return {"status": "not run", "note": note, "broken": True}


def _read_log(path: Path) -> str:
    """Give what was printed; a file in which there is nothing goes."""
    lines = (
        path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    )
    kept = [line for line in lines if not line.startswith("Extension modules:")]  # hundreds
    text = "\n".join(kept).strip()
    if not text:
        path.unlink(missing_ok=True)
    return text


def _end_of(printed: str) -> str:
    """Keep the end of what was printed; a stack that Python dumps begins with the last call."""
    before, heading, stack = printed.rpartition(STACK_HEADING)
    if not heading:
        return printed[-TRACE_CHARS:]
    return before[-TRACE_CHARS:] + heading + "\n".join(stack.splitlines()[: STACK_LINES + 1])


def _file_name(check: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", check).strip("-")


def ask_machine(settings: Settings, *, out: Path, timeout_s: float = 120.0) -> dict[str, Any]:
    """Look at the GPU in a process of its own.

    Returns:
        What `gpu_check.machine` says, or only `reason`, why there is none.
    """
    part = Part("machine", "", "gpu_check.machine", timeout_s)
    with closing(_Runner(part, settings, out)) as runner:
        result = runner.run("gpu", left_s=timeout_s)
    if result.status != "measured":
        return {"reason": result.note}
    name, _, versions = result.note.partition("; ")
    return {"name": name, "versions": versions, **result.figures}
