"""The measuring side of a worker: requests in, answers or the reason why there is none out."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from istvt.benchmarks.timing import FrameTime
from istvt.benchmarks.worker import Job
from istvt.child import ANSWER_TIMEOUT_S, ChildProcess

COMMAND = (sys.executable, "-m", "istvt.benchmarks.worker")


@dataclass(frozen=True)
class Loaded:
    """What a subject turned out to run on."""

    device: str
    precision: str


@dataclass(frozen=True)
class Turn:
    """What one subject did in one round."""

    times: tuple[FrameTime, ...]
    peak_rss_mib: float | None


class Worker(Protocol):
    """One subject, ready to be measured; what it cannot do raises `BackendError`."""

    def load(self) -> Loaded:
        """Wait until it has loaded."""
        ...

    def warm_up(self) -> int:
        """Run it until its time settles; give the number of calls."""
        ...

    def measure(self, seconds: float) -> Turn:
        """Let it have a turn."""
        ...

    def close(self) -> None:
        """End it; may be called twice."""
        ...


class WorkerProcess:
    """A subject in a process of its own.

    Args:
        job: what it measures; it starts to load at once.
        command: starts the process.
        timeout_s: for an answer, beyond the time that was asked to be measured.
    """

    def __init__(
        self,
        job: Job,
        *,
        command: Sequence[str] = COMMAND,
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> None:
        self._timeout_s = timeout_s
        self._child = ChildProcess(command, timeout_s=timeout_s)
        self._child.send({"do": "load", **asdict(job)})

    def load(self) -> Loaded:
        """See `Worker.load`."""
        return Loaded(**self._child.receive())

    def warm_up(self) -> int:
        """See `Worker.warm_up`."""
        self._child.send({"do": "warm_up"})
        calls: int = self._child.receive()["calls"]
        return calls

    def measure(self, seconds: float) -> Turn:
        """See `Worker.measure`."""
        self._child.send({"do": "measure", "seconds": seconds})
        answer: dict[str, Any] = self._child.receive(timeout_s=self._timeout_s + seconds)
        times = tuple(FrameTime(*pair) for pair in answer["times"])
        return Turn(times=times, peak_rss_mib=answer["peak_rss_mib"])

    def close(self) -> None:
        """See `Worker.close`."""
        self._child.close()
