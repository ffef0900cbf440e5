"""The measuring side of a worker: requests in, answers or the reason why there is none out."""

import json
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import IO, Any, Protocol, cast

from istvt.benchmarks.timing import FrameTime
from istvt.benchmarks.worker import Job
from istvt.errors import BackendError

COMMAND = (sys.executable, "-m", "istvt.benchmarks.worker")
ANSWER_TIMEOUT_S = 600.0


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
    """A subject in a process of its own, in a session of its own.

    Ctrl-C in the terminal therefore reaches only the parent, which kills the workers. A parent
    that was killed itself closes their input, and they end.

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
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  closed by `close`
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            start_new_session=True,
        )
        self._stdin = cast(IO[bytes], self._process.stdin)
        self._stdout = cast(IO[bytes], self._process.stdout)
        self._send({"do": "load", **asdict(job)})

    def load(self) -> Loaded:
        """See `Worker.load`."""
        return Loaded(**self._receive(self._timeout_s))

    def warm_up(self) -> int:
        """See `Worker.warm_up`."""
        self._send({"do": "warm_up"})
        calls: int = self._receive(self._timeout_s)["calls"]
        return calls

    def measure(self, seconds: float) -> Turn:
        """See `Worker.measure`."""
        self._send({"do": "measure", "seconds": seconds})
        answer = self._receive(self._timeout_s + seconds)
        times = tuple(FrameTime(*pair) for pair in answer["times"])
        return Turn(times=times, peak_rss_mib=answer["peak_rss_mib"])

    def close(self) -> None:
        """Kill it: it holds nothing that could be lost."""
        self._process.kill()
        self._process.wait()
        for stream in (self._stdin, self._stdout, self._stderr):
            with suppress(BrokenPipeError):  # a request that it did not live to read
                stream.close()

    def _send(self, request: dict[str, Any]) -> None:
        with suppress(BrokenPipeError):  # it ended; waiting for the answer will say how
            self._stdin.write(json.dumps(request).encode() + b"\n")
            self._stdin.flush()

    def _receive(self, timeout_s: float) -> dict[str, Any]:
        readable, _, _ = select.select([self._stdout], [], [], timeout_s)
        if not readable:
            raise BackendError(f"no answer from its process in {timeout_s:.0f} s")
        line = self._stdout.readline()
        if not line.endswith(b"\n"):
            raise BackendError(self._how_it_ended())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise BackendError(answer["error"])
        return answer

    def _how_it_ended(self) -> str:
        code = self._process.wait()
        self._stderr.seek(0)
        last_words = self._stderr.read().decode(errors="replace").strip().splitlines()[-1:]
        ending = f"killed by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return f"its process ended: {ending}" + "".join(f": {line}" for line in last_words)
