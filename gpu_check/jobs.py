"""Run jobs in processes that cannot end each other, and take their rows."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from gpu_check.subject import Settings
from gpu_check.table import Row, Status
from istvt.child import ChildProcess
from istvt.errors import BackendError

COMMAND = (sys.executable, "-m", "gpu_check.worker")


@dataclass(frozen=True)
class Job:
    """A function that measures one row, or a file of tests, each of them a row.

    Attributes:
        row: blank; of tests, it stands for all until they are collected.
        function: `module:name`, called with the settings and the row; or a path of tests.
        timeout_s: for one row.
        shares: a process with its neighbours, as long as none of them breaks it.
    """

    row: Row
    function: str
    timeout_s: float = 120.0
    shares: bool = False


def run_jobs(
    jobs: Sequence[Job],
    settings: Settings,
    *,
    log: Path,
    end_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Row]:
    """Run jobs one after the other and give their rows.

    A row whose process crashes or hangs fails, and the next one gets a new process.

    Args:
        jobs: in order.
        settings: for all of them.
        log: takes what their processes print.
        end_s: by the clock; what cannot start before it is not run, what it interrupts is stopped.
        clock: in seconds.
    """
    with closing(_Runner(settings, log, lambda: end_s - clock())) as runner:
        for job in jobs:
            yield from runner.run(job)


class _Runner:
    """Has a process from the first job on."""

    def __init__(self, settings: Settings, log: Path, left_s: Callable[[], float]) -> None:
        self._settings, self._log, self._left_s = settings, log, left_s
        self._child: ChildProcess | None = None
        self._is_shared = False

    def run(self, job: Job) -> Iterator[Row]:
        """Run a job until each of its rows has come; tests resume behind one that broke it."""
        waiting, done = [job.row], list[str]()
        while waiting:
            if self._left_s() <= 0:
                reason = f"no time was left: run {job.row.part!r} alone"
                yield from (replace(row, status="out of time", reason=reason) for row in waiting)
                return
            if not (job.shares and self._is_shared):
                self.close()
            self._is_shared = job.shares
            child = self._child = self._child or ChildProcess(COMMAND)
            child.send(
                {
                    **asdict(job),
                    "settings": asdict(self._settings),
                    "log": str(self._log),
                    "done": done,
                }
            )
            yield from self._follow(child, job, waiting, done)

    def close(self) -> None:
        """End the process, if there is one."""
        if self._child is not None:
            self._child.close()
        self._child = None

    def _follow(
        self, child: ChildProcess, job: Job, waiting: list[Row], done: list[str]
    ) -> Iterator[Row]:
        """Take answers, one a request, until the job or its process ends."""
        builds, before = "", len(done)
        while True:
            patience_s, start_s = max(0.0, min(job.timeout_s, self._left_s())), time.monotonic()
            try:
                answer = child.receive(timeout_s=patience_s)
            except BackendError as error:
                self.close()
                seconds = time.monotonic() - start_s
                status, reason = self._judge(error, builds, is_late=seconds >= patience_s)
                done.append(waiting[0].name)
                yield replace(waiting.pop(0), status=status, reason=reason, seconds=seconds)
                return
            builds = answer.get("builds", builds)
            if "rows" in answer:
                waiting[:] = [Row(**row) for row in answer["rows"]]
            if "row" in answer:
                done.append(waiting.pop(0).name)
                yield Row(**answer["row"])
            if "end" in answer:
                break
            child.send({})
        if answer["broken"]:
            self.close()
        if len(done) == before:  # nothing came, and nothing would the next time
            yield from (replace(row, status="fail", reason=answer["end"]) for row in waiting)
            waiting.clear()

    def _judge(self, error: BackendError, builds: str, *, is_late: bool) -> tuple[Status, str]:
        """Say what became of a row whose process gave no answer."""
        if is_late and builds:
            return "out of time", f"stopped while {builds}: {error}"
        if is_late and self._left_s() <= 0:
            return "out of time", "stopped when all time was over: run its part alone"
        return "fail", str(error)
