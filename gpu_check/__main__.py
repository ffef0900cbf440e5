"""`python -m gpu_check`: run all checks, print the table, write files.

Needs numpy alone; what a check needs beside it and is not there makes it a row "not run".
"""

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import shorten
from typing import TextIO

from gpu_check.parts import PARTS, Part
from gpu_check.report import JSON_FILE, MARKDOWN_FILE, Report, count_statuses
from gpu_check.result import Result, Settings
from gpu_check.run import (
    OUT_OF_TIME,
    STILL_BUILDING,
    ask_machine,
    run_parts,
    skip_parts,
)
from istvt.environment import PACKAGES, describe_environment
from istvt.errors import ExitCode

BUDGET_S = 540.0  # ten minutes less what surrounds the checks
LINE_CHARS = 200  # of a note on the terminal
MORE_PACKAGES = (
    *("triton", "tensorrt", "tensorrt-rtx", "cuda-bindings", "pycuda"),
    *("safetensors", "lightning-fabric"),
)


def main(arguments: Sequence[str] | None = None, *, out: TextIO = sys.stdout) -> ExitCode:
    """Run the check.

    Returns:
        `GATE` where a check failed or a target was missed, `INCOMPLETE` where time ran out,
        `ENVIRONMENT` where there is no GPU.
    """
    start_s = time.monotonic()
    options = _parse(arguments)
    parts = [part for part in PARTS if not options.parts or part.name in options.parts]
    try:
        with TemporaryDirectory(prefix="gpu-check-") as work:
            return _run(options, parts, work, start_s=start_s, out=out)
    except KeyboardInterrupt:
        print(f"\nstopped; what was found is in {options.out}", file=out)
        return ExitCode.INTERRUPTED


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m gpu_check",
        description="Check and measure on an NVIDIA GPU all that a CPU cannot show.",
    )
    names = [part.name for part in PARTS]
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(names)}; all")
    parser.add_argument("--out", type=Path, default=Path("build/gpu-check"), help="folder")
    parser.add_argument("--budget-s", type=float, default=BUDGET_S, help="seconds for everything")
    parser.add_argument("--seconds", type=float, default=0.5, help="of measuring, for each figure")
    parser.add_argument(
        "--rehearse", action="store_true", help="on the CPU with preset tiny: figures do not count"
    )
    options = parser.parse_args(arguments)
    if unknown := set(options.parts) - set(names):
        parser.error(f"no part is called {', '.join(sorted(unknown))}: expected {', '.join(names)}")
    return options


def _run(
    options: argparse.Namespace, parts: list[Part], work: str, *, start_s: float, out: TextIO
) -> ExitCode:
    rehearse = options.rehearse
    settings = Settings(
        device="cpu" if rehearse else "cuda",
        preset_name="tiny" if rehearse else "paper",
        work=work,
        seconds=options.seconds,
    )
    gpu = (
        {"reason": "a rehearsal uses none"} if rehearse else ask_machine(settings, out=options.out)
    )
    report = Report(
        environment=describe_environment((*PACKAGES, *MORE_PACKAGES)),
        gpu=gpu,
        preset_name=settings.preset_name,
        rehearsal=rehearse,
        budget_s=options.budget_s,
        parts=parts,
    )
    has_none = "reason" in gpu and not rehearse
    results = (
        skip_parts(parts, gpu["reason"])
        if has_none
        else run_parts(parts, settings, out=options.out, budget_s=options.budget_s, since_s=start_s)
    )
    for result in results:
        report.results.append(result)
        report.write(options.out)
        if not has_none:
            print(_line(result), file=out, flush=True)
    _close(report, options.out, out)
    return ExitCode.ENVIRONMENT if has_none else _judge(report)


def _line(result: Result) -> str:
    note = f": {shorten(result.note, LINE_CHARS)}" if result.note else ""
    where = f" [{result.log}]" if result.log and result.status == "fail" else ""
    return (
        f"{result.status:<9}{result.part:<10}{result.check} ({result.seconds:.1f} s){note}{where}"
    )


def _close(report: Report, folder: Path, out: TextIO) -> None:
    if "reason" in report.gpu:
        print(f"no GPU: {report.gpu['reason']}", file=out)
    for target in report.targets:
        found = "-" if target.found is None else f"{target.found:.3g}"
        print(
            f"{target.status:<9}target    {target.name}: {found}, asked {target.least:g} "
            f"({target.source})",
            file=out,
        )
    print(f"{len(report.results)} checks: {count_statuses(report.results)}", file=out)
    print(f"written: {folder / MARKDOWN_FILE}, {folder / JSON_FILE}", file=out)


def _judge(report: Report) -> ExitCode:
    statuses = [result.status for result in report.results]
    statuses += [target.status for target in report.targets]
    if "fail" in statuses:
        return ExitCode.GATE
    ran_out = any(
        result.note.startswith((OUT_OF_TIME, STILL_BUILDING)) for result in report.results
    )
    return ExitCode.INCOMPLETE if ran_out else ExitCode.DONE


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
