"""Check and measure on an NVIDIA GPU all that a CPU cannot show: `python -m gpu_check`.

Needs numpy alone; a row that needs a package which is missing is "not run".
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import shorten
from typing import TextIO

from gpu_check.jobs import run_jobs
from gpu_check.plan import GPU_JOB, JOBS
from gpu_check.subject import Settings
from gpu_check.table import JSON_FILE, LOG_FILE, MARKDOWN_FILE, Row, Table, count_statuses
from istvt.environment import PACKAGES, describe_environment
from istvt.errors import ExitCode

BUDGET_S = 540.0  # ten minutes less what surrounds the checks
LINE_CHARS = 200  # of a reason on the terminal
MORE_PACKAGES = (
    *("triton", "tensorrt", "tensorrt-rtx", "cuda-bindings", "pycuda"),
    *("safetensors", "lightning-fabric"),
)


def main(arguments: Sequence[str] | None = None, *, out: TextIO = sys.stdout) -> ExitCode:
    """Run the check.

    Returns:
        `GATE` where a row failed or a target was missed, `INCOMPLETE` where time ran out,
        `ENVIRONMENT` where there is no GPU.
    """
    start_s = time.monotonic()
    options = _parse(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / LOG_FILE).write_bytes(b"")
    try:
        with TemporaryDirectory(prefix="gpu-check-") as work:
            return _run(options, work, end_s=start_s + options.budget_s, out=out)
    except KeyboardInterrupt:
        print(f"\nstopped; what was found is in {options.out}", file=out)
        return ExitCode.INTERRUPTED


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m gpu_check", description=__doc__)
    parts = list(dict.fromkeys(job.row.part for job in JOBS))
    folder = Path(os.environ.get("OUT") or "gpu-check")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(parts)}; all")
    parser.add_argument("--out", type=Path, default=folder, help="folder; $OUT or gpu-check")
    parser.add_argument("--budget-s", type=float, default=BUDGET_S, help="seconds for everything")
    parser.add_argument("--seconds", type=float, default=0.5, help="of measuring, for each figure")
    parser.add_argument(
        "--rehearse", action="store_true", help="on the CPU with preset tiny: figures do not count"
    )
    options = parser.parse_args(arguments)
    if unknown := set(options.parts) - set(parts):
        parser.error(f"no part is called {', '.join(sorted(unknown))}: expected {', '.join(parts)}")
    return options


def _run(options: argparse.Namespace, work: str, *, end_s: float, out: TextIO) -> ExitCode:
    rehearses = options.rehearse
    settings = Settings(
        device="cpu" if rehearses else "cuda",
        preset_name="tiny" if rehearses else "paper",
        work=work,
        seconds=options.seconds,
    )
    environment = describe_environment((*PACKAGES, *MORE_PACKAGES))
    table = Table(environment, settings.preset_name, rehearses)
    jobs = [job for job in JOBS if not options.parts or job.row.part in options.parts]
    log = options.out.absolute() / LOG_FILE
    gpu = replace(GPU_JOB.row, reason="a rehearsal uses none")
    if not rehearses:
        (gpu,) = run_jobs([GPU_JOB], settings, log=log, end_s=end_s)
    has_none = gpu.status != "measured" and not rehearses
    rows = run_jobs([] if has_none else jobs, settings, log=log, end_s=end_s)
    missing = [replace(job.row, reason=gpu.reason) for job in jobs] if has_none else []
    for row in chain([gpu], missing, rows):
        table.rows.append(row)
        table.write(options.out)
        if not has_none:
            print(_line(row), file=out, flush=True)
    if has_none:
        print(f"no GPU: {gpu.reason}", file=out)
    for row in table.all_rows[: -len(table.rows)]:
        print(_line(row), file=out)
    print(f"{len(table.rows)} rows: {count_statuses(table.rows)}", file=out)
    print(f"written: {options.out / MARKDOWN_FILE}, {JSON_FILE}, {LOG_FILE}", file=out)
    return ExitCode.ENVIRONMENT if has_none else _judge(table.all_rows)


def _line(row: Row) -> str:
    asked = "" if row.target is None else f", asked {row.target:g}"
    value = "" if row.value is None else f" {row.value:.3g} {row.unit}{asked}"
    batch = f"batch {row.batch}" if row.batch else ""
    subject = " ".join(filter(None, (row.name, row.subject, row.dtype, batch)))
    more = shorten("; ".join(filter(None, (row.reason, row.note))), LINE_CHARS)
    return f"{row.status:<12}{row.part:<14}{subject}:{value} ({row.seconds:.1f} s) {more}".rstrip()


def _judge(rows: Sequence[Row]) -> ExitCode:
    statuses = {row.status for row in rows}
    if "fail" in statuses:
        return ExitCode.GATE
    return ExitCode.INCOMPLETE if "out of time" in statuses else ExitCode.DONE


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
