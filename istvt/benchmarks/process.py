"""Start a worker process, send it requests and receive its answers."""

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
    """The device and precision that a subject runs on."""

    device: str
    precision: str


@dataclass(frozen=True)
class Turn:
    """One subject's measurements in one round."""

    times: tuple[FrameTime, ...]
    peak_rss_mib: float | None


class Worker(Protocol):
    """Measures one subject; every method but `close` raises `BackendError` if it fails."""

    def load(self) -> Loaded:
        """Wait until it has loaded."""
        ...

    def warm_up(self) -> int:
        """Run it until its time settles, and return the number of calls."""
        ...

    def measure(self, seconds: float) -> Turn:
        """Measure it for one turn."""
        ...

    def close(self) -> None:
        """End the worker; may be called twice."""
        ...


class WorkerProcess:
    """Measures a subject in its own process.

    Args:
        job: names the subject; the process starts to load it at once.
        command: starts the process.
        timeout_s: for an answer, beyond the requested measuring time.
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
