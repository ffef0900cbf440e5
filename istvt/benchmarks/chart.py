"""Draw a benchmark's whole-frame latencies as a bar chart."""

from pathlib import Path
from typing import Any

from istvt.benchmarks.report import BenchReport, Latency, Row
from istvt.benchmarks.table import describe_machine, describe_model
from istvt.benchmarks.worker import NAIVE
from istvt.errors import UsageError
from istvt.extras import require

NAIVE_COLOUR, BAR_COLOUR, WHISKER_COLOUR, MUTED_COLOUR = "#b9bec6", "#2f6db5", "#1b2a3a", "#6b7280"
WIDTH_IN, HEADER_IN, ROW_IN, AXIS_IN, DPI = 9.0, 0.65, 0.55, 0.9, 120
REASON_CHARS = 80


def check_format(path: Path) -> None:
    """Refuse a file name that `draw` cannot write.

    Raises:
        MissingExtraError: matplotlib is not installed.
        UsageError: matplotlib does not know the suffix.
    """
    figure = require("matplotlib.figure", extra="train").Figure()
    known = sorted(figure.canvas.get_supported_filetypes())
    if path.suffix.lower().removeprefix(".") not in known:
        raise UsageError(f"{path} is not a known picture format: use .{', .'.join(known)}")


def draw(report: BenchReport, path: Path) -> None:
    """Write a picture with one bar per row: p50 with a whisker to p95, the naive row on top.

    Args:
        report: to draw.
        path: its suffix chooses one of matplotlib's formats.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figures = require("matplotlib.figure", extra="train")
    count = len(report.rows)
    height_in = HEADER_IN + ROW_IN * count + AXIS_IN
    figure = figures.Figure(figsize=(WIDTH_IN, height_in), dpi=DPI, layout="constrained")
    _write_header(figure, report, height_in)
    axes = figure.subplots()
    frames = [row.stages["frame"] for row in report.rows if row.stages]
    longest_ms = max((frame.p95_ms for frame in frames), default=1.0)
    for position, row in enumerate(report.rows):
        if row.stages:
            _draw_bar(axes, position, row, row.stages["frame"], gap_ms=longest_ms * 0.012)
        else:
            reason = f"not measured: {row.reason.splitlines()[0]}"[:REASON_CHARS]
            axes.text(0, position, f" {reason}", va="center", color=MUTED_COLOUR, fontsize=9)
    axes.set_xlim(0, longest_ms * 1.28)  # room for the labels
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_yticks(range(count), [_label(row) for row in report.rows])
    axes.set_xlabel(
        "one streamed frame, ms: median, whisker to p95; 2x takes half as long as naive"
    )
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _write_header(figure: Any, report: BenchReport, height_in: float) -> None:
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - HEADER_IN / height_in))
    model, machine = describe_model(report.model), describe_machine(report.environment)
    figure.text(0.01, 1 - 0.1 / height_in, model, va="top", fontsize=11, weight="bold")
    figure.text(0.01, 1 - 0.36 / height_in, machine, va="top", fontsize=9, color=MUTED_COLOUR)


def _draw_bar(axes: Any, position: int, row: Row, frame: Latency, *, gap_ms: float) -> None:
    colour = NAIVE_COLOUR if row.name == NAIVE else BAR_COLOUR
    axes.barh(position, frame.p50_ms, height=0.6, color=colour)
    whisker_ms = [[0.0], [frame.p95_ms - frame.p50_ms]]
    axes.errorbar(
        frame.p50_ms, position, xerr=whisker_ms, color=WHISKER_COLOUR, capsize=4, linewidth=1.2
    )
    ratio = "" if row.speedup is None else f"  {row.speedup:.1f}x"
    axes.text(frame.p95_ms + gap_ms, position, f"{_rounded(frame.p50_ms)} ms{ratio}", va="center")


def _rounded(figure: float) -> str:
    return f"{figure:.0f}" if figure >= 100 else f"{figure:.3g}"


def _label(row: Row) -> str:
    return f"{row.name}\n{row.device} {row.precision}".strip()
