"""The repository's own GPU tests, where they and pytest are."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from istvt.benchmarks.gpu_check.check import Check
from istvt.benchmarks.gpu_check.result import CannotRunError, Outcome, Settings

TESTS = Path("tests/export/kernels/test_cuda.py")


def run_tests(settings: Settings) -> Outcome:
    """Run the GPU tests of the kernels: more shapes, extreme values, large offsets, gradients.

    Raises:
        CannotRunError: in a rehearsal, or pytest or the tests are not here.
    """
    if settings.device != "cuda":
        raise CannotRunError("a rehearsal on a CPU runs no GPU tests")
    if not TESTS.is_file() or find_spec("pytest") is None:
        raise CannotRunError(f"pytest is not installed, or {TESTS} is not in this folder")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(TESTS)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    last = (run.stdout.strip().splitlines() or ["pytest said nothing"])[-1]
    passed = run.returncode == 0 and " passed" in last  # all skipped is no success
    return Outcome(passed=passed, note=last.strip("= "))


CHECKS: dict[str, Check] = {str(TESTS): run_tests}
