"""Results in, one JSON and one Markdown file out, rewritten after each check."""

import datetime
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gpu_check.parts import Part
from gpu_check.result import STATUSES, Result
from gpu_check.targets import Target, judge
from istvt.environment import Environment
from istvt.files import atomic_file

SCHEMA_VERSION = 1
LONG_NOTE_CHARS, SHOWN_TRACE_LINES = 100, 40
JSON_FILE, MARKDOWN_FILE = "gpu-check.json", "gpu-check.md"

UNITS = {
    "_tflop_per_s": "TFLOP/s",
    "tflop_per_s": "TFLOP/s",
    "_gb_per_s": "GB/s",
    "gb_per_s": "GB/s",
    "_percent": "%",
    "_mib": "MiB",
    "_us": "µs",
    "_ms": "ms",
}


@dataclass
class Report:
    """A run that grows.

    Attributes:
        gpu: as `ask_machine` gives it.
        preset_name: of the model.
        rehearsal: whether the CPU stood in for a GPU.
        budget_s: for all checks.
        results: so far.
    """

    environment: Environment
    gpu: Mapping[str, Any]
    preset_name: str
    rehearsal: bool
    budget_s: float
    parts: Sequence[Part]
    results: list[Result] = field(default_factory=list)
    created: str = field(
        default_factory=lambda: datetime.datetime.now(datetime.timezone.utc).isoformat(
            timespec="seconds"
        )
    )

    @property
    def targets(self) -> list[Target]:
        """What was aimed at; a rehearsal aims at nothing."""
        return [] if self.rehearsal else judge(self.results)

    def write(self, folder: Path) -> None:
        """Write both files, each whole or not at all."""
        for name, text in (
            (JSON_FILE, json.dumps(self.to_dict(), indent=2) + "\n"),
            (MARKDOWN_FILE, to_markdown(self)),
        ):
            with atomic_file(folder / name) as temporary:
                temporary.write_text(text, encoding="utf-8")

    def to_dict(self) -> dict[str, Any]:
        """Turn into what JSON can hold."""
        return {
            "schema_version": SCHEMA_VERSION,
            "created": self.created,
            "rehearsal": self.rehearsal,
            "preset": self.preset_name,
            "budget_s": self.budget_s,
            "gpu": dict(self.gpu),
            "environment": asdict(self.environment),
            "targets": [{**asdict(target), "status": target.status} for target in self.targets],
            "results": [result.to_dict() for result in self.results],
        }


def count_statuses(results: Sequence[Result]) -> str:
    """Sum up in words."""
    counts = Counter(result.status for result in results)
    return ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status])


def to_markdown(report: Report) -> str:
    """Lay out everything, what was not run included."""
    lines = ["# GPU check", "", *_header(report), ""]
    if report.targets:
        lines += ["## Targets", "", *_targets_table(report.targets), ""]
        lines += _causes(report.targets)
    for part in report.parts:
        results = [result for result in report.results if result.part == part.name]
        if results:
            lines += [f"## {part.title}", "", *_part_lines(results), ""]
    lines += _failures(report.results)
    return "\n".join(lines).rstrip() + "\n"


def _header(report: Report) -> Iterable[str]:
    if report.rehearsal:
        yield f"**A rehearsal on the CPU with preset {report.preset_name}: no figure counts.**"
        yield ""
    environment = report.environment
    packages = ", ".join(f"{name} {version}" for name, version in environment.packages.items())
    yield f"- GPU: {_describe_gpu(report.gpu)}"
    yield f"- machine: {environment.cpu}, {environment.cores} cores, {environment.kernel}"
    yield f"- packages: Python {environment.python}, {packages}"
    yield f"- model: preset {report.preset_name}, random weights"
    yield f"- {report.created}; {count_statuses(report.results) or 'nothing yet'}"


def _describe_gpu(gpu: Mapping[str, Any]) -> str:
    if "reason" in gpu:
        return f"none: {gpu['reason']}"
    return (
        f"{gpu['name']}, compute capability {gpu['compute_capability'] / 10:.1f}, "
        f"{gpu['memory_gib']:.0f} GiB, {gpu['multiprocessors']:.0f} multiprocessors, "
        f"{gpu['l2_mib']:.0f} MiB of L2, {gpu['versions']}"
    )


def _targets_table(targets: Sequence[Target]) -> Iterable[str]:
    rows = [
        (
            target.name,
            f"≥ {target.least:g}",
            "-" if target.found is None else format_figure(target.found),
            target.status,
            target.source,
        )
        for target in targets
    ]
    return _table(("target", "asked", "found", "", "from"), rows)


def _causes(targets: Sequence[Target]) -> Iterable[str]:
    """Say where the time goes of targets that were missed, once for each place."""
    missed: dict[str, list[str]] = {}
    for target in targets:
        if target.status == "fail" and target.profile:
            missed.setdefault(target.profile, []).append(target.name)
    for profile, names in missed.items():
        yield f"Where the time goes of: {'; '.join(names)}."
        yield ""
        yield from (f"- {_one_line(line)}" for line in profile.splitlines())
        yield ""


def _failures(results: Sequence[Result]) -> Iterable[str]:
    """Show where each failure came from, as far as its process told."""
    failed = [result for result in results if result.status == "fail" and result.trace]
    if failed:
        yield from ("## Failures", "")
    for result in failed:
        where = f" ({result.log})" if result.log else ""
        lines = result.trace.rstrip().splitlines()[-SHOWN_TRACE_LINES:]
        longest = max(map(len, re.findall("`+", result.trace)), default=0)
        fence = "`" * max(3, longest + 1)
        yield from (f"### {result.part}: {result.check}{where}", "", fence, *lines, fence, "")


def _part_lines(results: Sequence[Result]) -> Iterable[str]:
    """Give a table for each set of figures, long notes, and a list of what was not run."""
    shown = [result for result in results if result.status != "not run"]
    by_columns: dict[tuple[str, ...], list[Result]] = {}
    for result in shown:
        by_columns.setdefault(tuple(result.figures), []).append(result)
    missing = [result for result in results if result.status == "not run"]
    blocks = [_table(*_cells(group, columns)) for columns, group in by_columns.items()]
    blocks += [_list_notes(shown)] if any(map(_has_long_note, shown)) else []
    blocks += [_list_by_reason(missing)] if missing else []
    for position, block in enumerate(blocks):
        yield from ("",) if position else ()
        yield from block


def _cells(
    results: Sequence[Result], columns: Sequence[str]
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Give the header and the rows; a column of notes only where there are any short ones."""
    notes = ["" if _has_long_note(result) else result.note for result in results]
    has_notes = any(notes)
    header = ("check", "", *map(label, columns), *(("note",) if has_notes else ()))
    rows = [
        (
            result.check,
            result.status,
            *(format_figure(result.figures[name]) for name in columns),
            *((note,) if has_notes else ()),
        )
        for result, note in zip(results, notes, strict=True)
    ]
    return header, rows


def _has_long_note(result: Result) -> bool:
    return len(result.note) > LONG_NOTE_CHARS


def _list_notes(results: Sequence[Result]) -> Iterable[str]:
    for result in filter(_has_long_note, results):
        for line in result.note.splitlines():
            yield f"- {result.check}: {_one_line(line)}"


def _list_by_reason(results: Sequence[Result]) -> Iterable[str]:
    by_reason: dict[str, list[str]] = {}
    for result in results:
        by_reason.setdefault(result.note, []).append(result.check)
    for reason, checks in by_reason.items():
        yield f"- not run: {'; '.join(checks)}. Reason: {_one_line(reason)}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterable[str]:
    for cells in (header, ["---"] * len(header), *rows):
        yield "| " + " | ".join(_one_line(cell).replace("|", "\\|") for cell in cells) + " |"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def label(figure: str) -> str:
    """Write the name of a figure for people."""
    for ending, unit in UNITS.items():
        if figure.endswith(ending):
            figure = figure.removesuffix(ending) + f", {unit}"
            break
    return figure.replace("_", " ").lstrip(", ")


def format_figure(value: float) -> str:
    """Write a number with three digits that count, whole where it is large."""
    if not math.isfinite(value):
        return str(value)
    if (value == int(value) and abs(value) < 1e6) or abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.1e}" if 0 < abs(value) < 1e-3 else f"{value:.3g}"
