"""The measured side: one process for one subject; JSON lines in, JSON lines out.

Started by `istvt.benchmarks.process` as `python -m istvt.benchmarks.worker`. Ends with its input,
so that none outlives the benchmark.
"""

import json
import statistics
import sys
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO

from istvt.benchmarks.timing import FrameTime, sample, warm_up
from istvt.child import serve_standard_streams
from istvt.errors import IstvtError
from istvt.scorer import DeviceName

NAIVE = "naive"
AT_LEAST_CALLS = 2  # of a turn


@dataclass(frozen=True)
class Job:
    """What a worker measures.

    Attributes:
        subject: `naive`, or the name of a backend.
        bundle: its folder.
        threads: CPU threads; all cores where None.
    """

    subject: str
    bundle: str
    device: DeviceName
    threads: int | None


class Subject(Protocol):
    """What can be measured."""

    device: str
    precision: str

    def __call__(self) -> FrameTime:
        """Run and time one frame."""
        ...


def open_subject(job: Job) -> Subject:
    """Load what is measured.

    Raises:
        IstvtError: it does not run here.
    """
    if job.subject == NAIVE:
        from istvt.benchmarks.peers import NaiveFrame
        from istvt.bundle.manifest import open_bundle

        return NaiveFrame(open_bundle(Path(job.bundle)), device=job.device, threads=job.threads)
    from istvt.api import open_model
    from istvt.benchmarks.timing import StreamedFrame

    model = open_model(
        job.bundle,
        backend=job.subject,
        device=job.device,
        threads=job.threads,
        eager_kernels=True,
    )
    return StreamedFrame(model.scorer)


class Server:
    """Answers requests about one subject."""

    def __init__(self) -> None:
        self._subject: Subject | None = None
        self._usual_s = 0.0

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked: `load` first, then `warm_up`, then `measure` any number of times."""
        match request.pop("do"):
            case "load":
                self._subject = open_subject(Job(**request))
                return {"device": self._subject.device, "precision": self._subject.precision}
            case "warm_up" if self._subject:
                times = warm_up(self._subject)
                self._usual_s = statistics.median(time.frame_s for time in times[-3:])
                return {"calls": len(times)}
            case "measure" if self._subject:
                times = sample(
                    self._subject,
                    seconds=request["seconds"],
                    at_least=AT_LEAST_CALLS,
                    usual_s=self._usual_s,
                )
                return {
                    "times": [astuple(time) for time in times],
                    "peak_rss_mib": peak_rss_mib(),
                }
            case unknown:
                raise ValueError(f"cannot {unknown!r} now")


def serve(requests: Iterable[str], replies: TextIO) -> None:
    """Answer each line with one line; what is no `IstvtError` ends the process with its trace."""
    server = Server()
    for line in requests:
        try:
            answer = server.answer(json.loads(line))
        except IstvtError as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), file=replies, flush=True)


def peak_rss_mib() -> float | None:
    """Give the most memory that this process has held; None where the system does not say.

    Linux hands `ru_maxrss` down from the parent through exec; `VmHWM` starts anew.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2): bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def main() -> None:
    """Serve on the standard streams."""
    serve_standard_streams(serve)


if __name__ == "__main__":
    main()
