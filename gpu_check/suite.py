"""The repository's own GPU tests, where they and pytest are."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from gpu_check.check import Check
from gpu_check.result import CannotRunError, Outcome, Settings

TESTS = Path("tests/export/kernels/test_cuda.py")  # none of those that Triton interprets
NAMED_FAILURES = 5


def run_tests(settings: Settings) -> Outcome:
    """Run the GPU tests of the kernels: more shapes, extreme values, large offsets, gradients.

    Raises:
        CannotRunError: in a rehearsal, or pytest or the tests are not here.
    """
    if settings.device != "cuda":
        raise CannotRunError("a rehearsal on a CPU runs no GPU tests")
    if not TESTS.is_file() or find_spec("pytest") is None:
        raise CannotRunError(f"pytest is not installed, or {TESTS} is not in this folder")
    command = [sys.executable, "-m", "pytest", "-q", "-rfE", "-p", "no:cacheprovider", str(TESTS)]
    wide = {**os.environ, "COLUMNS": "200"}  # else it leaves the reasons out
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=wide)
    sys.stderr.write(f"{run.stdout}\n{run.stderr}")  # the check's log
    sys.stderr.flush()
    lines = run.stdout.strip().splitlines() or ["pytest said nothing"]
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))][:NAMED_FAILURES]
    last = lines[-1].strip("= ")
    passed = run.returncode == 0 and " passed" in last  # all skipped is no success
    return Outcome(passed=passed, note="\n".join([last, *failed]))


CHECKS: dict[str, Check] = {str(TESTS): run_tests}
