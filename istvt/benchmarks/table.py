"""Format a benchmark report for the terminal."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from istvt.benchmarks.report import STAGES, BenchModel, BenchReport, Latency, Row, naive_row
from istvt.environment import Environment

BUSY_LOAD_PER_CORE = 0.5
NAME_WIDTH = 13


def format_report(report: BenchReport) -> str:
    """Format a report: model, machine, one line per row, then each stage's percentiles."""
    measured = [(row, row.stages) for row in report.rows if row.stages]
    width = max(NAME_WIDTH, *(len(row.name) + 1 for row in report.rows))
    lines = [
        *_header(report),
        "",
        f"{'':<{width}}{'runs on':<11}{'encoder':>9}{'window':>9}{'frame':>9}{'p95':>9}"
        f"{'windows/s':>11}{'MiB':>8}{'vs naive':>10}{'frames':>8}",
        *(_line(row, row.stages, width) for row in report.rows),
    ]
    if measured:
        columns = "".join(f"{name:>9}" for name in ("p50 ms", "p90 ms", "p95 ms", "p99 ms"))
        lines += ["", f"{'':<{width}}{'stage':<11}{columns}"]
        lines += [line for row, stages in measured for line in _stage_lines(row, stages, width)]
    return "\n".join([*lines, "", *_notes(report)])


def describe_model(model: BenchModel) -> str:
    """Describe the model that was measured."""
    name = f"preset {model.preset}"
    folder = Path(model.folder).name
    what = f"{name} with random weights" if model.random_weights else f"{folder}, {name}"
    sizes = f"{model.image_size} px, {model.num_frames} faces a window"
    if model.depth is not None:
        sizes = f"{sizes}, {model.depth} blocks"
    return f"{what}: {sizes}, graphs in {model.precision}"


def describe_machine(environment: Environment) -> str:
    """Describe the machine in short."""
    cores = f"{environment.cores} of {environment.cores_of_machine} cores"
    return ", ".join([environment.cpu, cores, *environment.gpus])


def _header(report: BenchReport) -> Iterable[str]:
    environment = report.environment
    packages = (f"{name} {version}" for name, version in environment.packages.items())
    yield f"model:    {describe_model(report.model)}"
    yield f"machine:  {describe_machine(environment)}, {environment.memory_gib:.0f} GiB"
    yield f"          {' '.join(environment.instruction_sets) or 'no known instruction set'}"
    yield f"system:   {environment.system}, {environment.kernel}, Python {environment.python}"
    yield f"packages: {', '.join(packages)}"
    load, cores = environment.load_average, environment.cores
    if load is not None and load > BUSY_LOAD_PER_CORE * cores:
        yield f"busy:     load average {load:.1f} on {cores} cores before it began; expect noise"


def _line(row: Row, stages: Mapping[str, Latency] | None, width: int) -> str:
    if not stages:
        return f"{row.name:<{width}}not measured: {row.reason}"
    p50s = "".join(f"{stages[stage].p50_ms:>9.2f}" for stage in STAGES)
    ratio = "-" if row.speedup is None else f"{row.speedup:.2f}x"
    memory = "-" if row.peak_rss_mib is None else f"{row.peak_rss_mib:.0f}"
    return (
        f"{row.name:<{width}}{row.device + ' ' + row.precision:<11}{p50s}"
        f"{stages['frame'].p95_ms:>9.2f}{row.windows_per_s:>11.2f}{memory:>8}"
        f"{ratio:>10}{row.calls:>8}"
    )


def _stage_lines(row: Row, stages: Mapping[str, Latency], width: int) -> Iterable[str]:
    for name, stage in zip((row.name, "", ""), STAGES, strict=True):
        found = stages[stage]
        figures = (found.p50_ms, found.p90_ms, found.p95_ms, found.p99_ms)
        yield f"{name:<{width}}{stage:<11}" + "".join(f"{figure:>9.2f}" for figure in figures)


def _notes(report: BenchReport) -> Iterable[str]:
    yield (
        "encoder, window, frame: median ms of one streamed frame; p95 of the whole frame; "
        "MiB: peak memory of the process."
    )
    faces = report.model.num_frames
    full = "" if report.model.depth is None else " and computes the last block in full"
    yield f"naive: PyTorch fp32, which encodes all {faces} faces again for every window{full}."
    if (naive := naive_row(report)) is not None and naive.stages:
        rounds = f"{report.rounds} interleaved rounds"
        yield f"vs naive: how many times less a frame takes; median of the ratios of {rounds}."
