"""Check what this machine has and which packages work on it (`istvt checks`)."""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from istvt.checks import machine
from istvt.checks.packages import PACKAGES, check_package
from istvt.checks.record import Check, Status
from istvt.errors import ExitCode

__all__ = ["Check", "Status", "exit_code", "format_checks", "run_checks"]


def run_checks() -> list[Check]:
    """Inspect the machine and try every package; takes as long as the slowest imports."""
    with ThreadPoolExecutor(max_workers=max(2, os.cpu_count() or 2)) as pool:
        probes = [pool.submit(check_package, package) for package in PACKAGES]
        before = [check() for check in machine.HARDWARE]
        after = [check() for check in machine.SURROUNDINGS]
        return [*before, *(check for probe in probes for check in probe.result()), *after]


def exit_code(checks: Iterable[Check]) -> ExitCode:
    """Return a failure only if no backend at all can run a model."""
    works = any(check.runs_models and check.status is Status.PASS for check in checks)
    return ExitCode.DONE if works else ExitCode.ENVIRONMENT


def format_checks(checks: Sequence[Check]) -> str:
    """Format the checks in columns, with each fix below its line and the outcome last."""
    width = max((len(check.name) for check in checks), default=0)
    lines = []
    for check in checks:
        lines.append(f"{check.status.value:<6}  {check.name:<{width}}  {check.detail}".rstrip())
        if check.fix and check.status is not Status.PASS:
            lines.append(f"{'':6}  {'':{width}}  fix: {check.fix}")
    working = [check.name for check in checks if check.runs_models and check.status is Status.PASS]
    if working:
        lines.append(f"\nModels run here on: {', '.join(working)}")
    else:
        lines.append("\nNo backend works: models cannot run here. pip install 'istvt[cpu]'")
    return "\n".join(lines)
