"""A worker in a process of its own: answers, reasons, and nothing left behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from istvt.benchmarks.process import WorkerProcess
from istvt.benchmarks.timing import FrameTime
from istvt.benchmarks.worker import Job
from istvt.errors import BackendError

JOB = Job(subject="torch", bundle="nowhere.istvt", device="cpu", threads=None)

ANSWERS = """
import json, sys
for line in sys.stdin:
    request = json.loads(line)
    print(json.dumps({
        "load": {"device": "cpu", "precision": "bf16"},
        "warm_up": {"calls": 4},
        "measure": {"times": [[0.5, request.get("seconds")]], "peak_rss_mib": 12.5},
    }[request["do"]]), flush=True)
"""


NOISY = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from istvt.benchmarks import worker
from tests.benchmarks.test_worker import Steady

def open_noisily(job):
    print("loaded with a friendly banner", flush=True)
    os.write(1, b"and so does the native library\\n")
    return Steady()

worker.open_subject = open_noisily
worker.main()
"""


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


def reason_of(code: str, *, timeout_s: float = 60.0) -> str:
    worker = WorkerProcess(JOB, command=python(code), timeout_s=timeout_s)
    try:
        with pytest.raises(BackendError) as caught:
            worker.load()
        return str(caught.value)
    finally:
        worker.close()


def test_requests_and_answers() -> None:
    worker = WorkerProcess(JOB, command=python(ANSWERS))
    try:
        loaded = worker.load()
        assert (loaded.device, loaded.precision) == ("cpu", "bf16")
        assert worker.warm_up() == 4
        turn = worker.measure(1.5)
    finally:
        worker.close()
    assert turn.times == (FrameTime(encoder_s=0.5, window_s=1.5),)
    assert turn.peak_rss_mib == 12.5


def test_libraries_that_print_do_not_disturb_the_answers() -> None:
    worker = WorkerProcess(JOB, command=python(NOISY))
    try:
        assert worker.load().precision == "fp32"
        assert worker.warm_up() == 3
    finally:
        worker.close()


def test_a_native_crash_says_which_signal() -> None:
    assert "SIGSEGV" in reason_of("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")


def test_a_python_error_says_its_last_line() -> None:
    reason = reason_of("raise MemoryError('no room for weights')")
    assert "exit code 1" in reason
    assert "MemoryError: no room for weights" in reason


def test_a_hang_ends() -> None:
    assert "no answer" in reason_of("import time; time.sleep(60)", timeout_s=0.2)


def test_closing_kills_it_and_may_be_repeated() -> None:
    worker = WorkerProcess(JOB, command=python("import time; time.sleep(600)"))
    pid = worker._child.pid
    worker.close()
    worker.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


HANGING = """
import sys, time
from istvt.child import serve_standard_streams
def serve(requests, replies):
    for _ in requests:
        time.sleep(600)
serve_standard_streams(serve)
"""


def test_a_child_that_hangs_ends_with_its_parent() -> None:
    """A parent that was killed closes its side, and no more."""
    child = subprocess.Popen(python(HANGING), stdin=subprocess.PIPE, start_new_session=True)
    assert child.stdin is not None
    child.stdin.write(b"{}\n")
    child.stdin.close()
    assert child.wait(30) == -signal.SIGKILL


def test_the_real_worker_tells_why_it_cannot_load(tmp_path: Path) -> None:
    job = Job("torch", str(tmp_path / "missing.istvt"), "cpu", None)
    worker = WorkerProcess(job)
    try:
        with pytest.raises(BackendError, match=r"missing\.istvt is not a bundle"):
            worker.load()
    finally:
        worker.close()
