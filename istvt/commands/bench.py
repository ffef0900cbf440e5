"""`istvt bench`: measure every backend on this machine."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from istvt.bundle import locate
from istvt.bundle.manifest import Bundle, open_bundle
from istvt.commands import options
from istvt.commands.output import JsonOption, Output, note
from istvt.console import stage_bars
from istvt.errors import ExitCode, ModelNotFoundError, UsageError
from istvt.presets import preset_named
from istvt.records import Progress
from istvt.runtime.backends.choose import BACKEND_NAMES, backend_named

if TYPE_CHECKING:
    from istvt.benchmarks.report import BenchReport

FALLBACK_PRESET = "paper"


def bench(
    model: options.ModelOption = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(
            help=f"{', '.join(BACKEND_NAMES)}; may be repeated. Default: the first three, and "
            "those whose engines the bundle has."
        ),
    ] = None,
    device: options.DeviceOption = "auto",
    threads: options.ThreadsOption = None,
    preset: Annotated[
        str | None,
        typer.Option(help=f"Measure {options.PRESET_NAMES} with random weights, not a bundle."),
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Interleaved turns of each row. Default: 5.")
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(help="Measuring time of each row over all rounds. Default: 1."),
    ] = None,
    json: JsonOption = None,
    png: Annotated[
        Path | None, typer.Option(help="Draw whole-frame latencies here (.png, .svg, .pdf).")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A short look: 2 rounds, 0.2 s.")] = False,
) -> int:
    """Compare every backend with naive PyTorch: latency, windows per second, memory."""
    from istvt.benchmarks import bench as benches
    from istvt.benchmarks.chart import check_format, draw
    from istvt.benchmarks.report import to_dict
    from istvt.benchmarks.table import format_report

    if png is not None:
        check_format(png)
    output = Output(json, png)
    if rounds is None:
        rounds = benches.QUICK_ROUNDS if quick else benches.ROUNDS
    if seconds is None:
        seconds = benches.QUICK_SECONDS if quick else benches.SECONDS
    named = backend or []
    request = benches.BenchRequest(named or None, device, threads, rounds, seconds)
    needs_engines = [name for name in named if backend_named(name).flavour]
    with (
        stage_bars() as progress,
        _bundle_or_preset(model, preset, needs_engines, progress) as (bundle, is_random),
    ):
        report = benches.run_bench(
            bundle,
            request,
            random_weights=is_random,
            progress=progress,
        )
    output.say(format_report(report))
    output.write(to_dict(report))
    if png is not None:
        draw(report, png)
        note(f"wrote {png}")
    return _exit_code(report, named=named)


@contextmanager
def _bundle_or_preset(
    model: Path | None, preset: str | None, needs_engines: list[str], progress: Progress
) -> Iterator[tuple[Bundle, bool]]:
    """Yield the bundle to measure and whether its weights are random; print the choice."""
    if model is not None and preset is not None:
        raise UsageError("use either --model or --preset: a bundle has its own preset")
    if preset is not None and needs_engines:
        raise UsageError(
            f"{needs_engines[0]} runs engines, and a preset has none: pass a bundle as --model"
        )
    bundle = None if preset else _bundle_if_any(model, is_needed=bool(needs_engines))
    if bundle is not None:
        yield bundle, False
        return
    from istvt.benchmarks.bench import random_bundle

    chosen = preset_named(preset or FALLBACK_PRESET)
    why = "--preset" if preset else "there is no bundle here; speed does not depend on the weights"
    note(f"model: preset {chosen.name} with random weights ({why})")
    with random_bundle(chosen, progress=progress) as bundle:
        yield bundle, True


def _bundle_if_any(model: Path | None, *, is_needed: bool) -> Bundle | None:
    try:
        return open_bundle(options.find_bundle(model))
    except ModelNotFoundError:
        if is_needed or model is not None or os.environ.get(locate.MODEL_VARIABLE):
            raise
        return None


def _exit_code(report: "BenchReport", *, named: list[str]) -> int:
    """Return a failure if a named backend did not run, or if none did."""
    failed = {row.name for row in report.rows if row.reason}
    is_failure = failed.intersection(named) or len(failed) == len(report.rows)
    return ExitCode.ENVIRONMENT if is_failure else ExitCode.DONE
