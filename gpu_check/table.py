"""Keep the one table of a check: rows of fields, their targets, a JSON and a Markdown file."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from istvt.environment import Environment
from istvt.files import atomic_file

Status: TypeAlias = Literal["pass", "fail", "measured", "not run", "out of time"]
STATUSES: tuple[Status, ...] = get_args(Status)
Contender: TypeAlias = Literal["", "eager", "torch.compile", "ours"]

SCHEMA_VERSION = 2
JSON_FILE, MARKDOWN_FILE, LOG_FILE = "gpu-check.json", "gpu-check.md", "gpu-check.log"
COPY_PERCENT, TIMES_EAGER, TIMES_COMPILED, PRODUCTS_PERCENT = 80.0, 3.0, 1.3, 60.0
OF_COPY, OF_EAGER, OF_PRODUCTS = "% of the faster copy", "× eager", "of_products_percent"
COLUMNS = ("part", "name", "subject", "dtype", "batch", "status", "value", "unit", "target")


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        part: of the check.
        name: of the test or the figure.
        subject: what is tested or measured: a kernel, a way of PyTorch, a backend.
        dtype, batch: that it is run with, where there is one.
        value: what counts most, in `unit`.
        target: that the value is to reach.
        reason: why it failed or was not run.
        note: what a reader should know beside it.
        contender: whose speed it is.
        seconds: that it took.
        figures: what else was measured; units are in the names.
    """

    part: str
    name: str
    subject: str = ""
    dtype: str = ""
    batch: int | None = None
    status: Status = "not run"
    value: float | None = None
    unit: str = ""
    target: float | None = None
    reason: str = ""
    note: str = ""
    contender: Contender = ""
    seconds: float = 0.0
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def was_run(self) -> bool:
        """Whether it came to an end, good or bad."""
        return self.status in ("pass", "fail", "measured")

    @property
    def is_right(self) -> bool:
        """Whether its value may count: what is fast and wrong is not fast."""
        return self.value is not None and self.status in ("pass", "measured")


@dataclass
class Table:
    """A run that grows.

    Attributes:
        preset_name: of the model.
        rehearsal: whether the CPU stands in for a GPU; it aims at nothing.
    """

    environment: Environment
    preset_name: str
    rehearsal: bool = False
    rows: list[Row] = field(default_factory=list)

    @property
    def all_rows(self) -> list[Row]:
        """Targets, and what they are made of."""
        return self.rows if self.rehearsal else [*judge(self.rows), *self.rows]

    def write(self, folder: Path) -> None:
        """Write both files, each whole or not at all."""
        values = {
            "schema_version": SCHEMA_VERSION,
            "preset": self.preset_name,
            "rehearsal": self.rehearsal,
            "environment": asdict(self.environment),
            "rows": [_to_json(asdict(row)) for row in self.all_rows],
        }
        texts = {JSON_FILE: json.dumps(values, indent=2) + "\n", MARKDOWN_FILE: to_markdown(self)}
        for name, text in texts.items():
            with atomic_file(folder / name) as temporary:
                temporary.write_text(text, encoding="utf-8")


def judge(rows: Sequence[Row]) -> list[Row]:
    """Compare what was measured with all targets, by the fields of the rows."""
    key = ("speed", "temporal", 8)
    speeds = [row for row in rows if (row.name, row.subject, row.batch) == key and row.was_run]
    slower = min(speeds, key=_value, default=None)
    wrong = [row for row in speeds if not row.is_right]  # then neither dtype is fast
    best, rival = (_best(rows, 1, contender) for contender in ("ours", "torch.compile"))
    busiest = _best(rows, 8, "ours", OF_PRODUCTS)
    missing = [name for name, row in (("ours", best), ("torch.compile", rival)) if not row]
    ratio = replace(best, value=_value(best) / _value(rival)) if best and rival else None
    faster = _target("best frame", TIMES_COMPILED, "× torch.compile", ratio)
    if missing:
        faster = replace(faster, reason=f"not measured: {', '.join(missing)}")
    elif rival:
        faster = replace(faster, note=f"against {rival.subject}")
    return [
        _target("temporal kernel", COPY_PERCENT, OF_COPY, wrong[0] if wrong else slower),
        _target("best frame", TIMES_EAGER, OF_EAGER, best),
        faster,
        _target("best window", PRODUCTS_PERCENT, "% of large products", busiest),
    ]


def _best(rows: Sequence[Row], batch: int, contender: str, figure: str = "") -> Row | None:
    """Take the fastest right fp16 frame of a contender, or the highest of a figure of it."""
    wanted = ("fp16", OF_EAGER, batch, contender)
    found = [
        replace(row, value=row.figures[figure]) if figure else row
        for row in rows
        if row.is_right and (row.dtype, row.unit, row.batch, row.contender) == wanted
    ]
    return max(found, key=_value, default=None)


def _target(name: str, least: float, unit: str, row: Row | None) -> Row:
    """Give the row of a target, not run where nothing right was measured."""
    blank = Row("targets", name, unit=unit, target=least, reason="nothing right was measured")
    if row is None:
        return blank
    blank = replace(blank, subject=row.subject, dtype=row.dtype, batch=row.batch)
    if not row.is_right:
        return replace(blank, reason=f"{row.status}: {row.reason}")
    status: Status = "pass" if _value(row) >= least else "fail"
    return replace(blank, status=status, value=row.value, reason="", note=row.part)


def _value(row: Row) -> float:
    return math.nan if row.value is None else row.value


def count_statuses(rows: Sequence[Row]) -> str:
    """Sum up in words."""
    counts = Counter(row.status for row in rows)
    return ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status])


def to_markdown(table: Table) -> str:
    """Lay everything out, rows that were not run included."""
    environment = table.environment
    packages = ", ".join(f"{name} {version}" for name, version in environment.packages.items())
    rehearsal = "**A rehearsal on the CPU: no figure counts.** " if table.rehearsal else ""
    header = (*COLUMNS, "")
    cells = [header, ["---"] * len(header), *map(_cells, table.all_rows)]
    return "\n".join(
        [
            *("# GPU check", ""),
            f"{rehearsal}{count_statuses(table.all_rows)}; preset {table.preset_name}, random "
            f"weights; {environment.cpu}, {environment.cores} cores, {environment.kernel}; "
            f"Python {environment.python}, {packages}",
            "",
            *("| " + " | ".join(map(_escape, line)) + " |" for line in cells),
            "",
        ]
    )


def _cells(row: Row) -> list[str]:
    values = [getattr(row, name) for name in COLUMNS]
    cells = [
        "" if value is None else format_figure(value) if isinstance(value, float) else str(value)
        for value in values
    ]
    figures = [f"{name} {format_figure(value)}" for name, value in row.figures.items()]
    return [*cells, "; ".join(filter(None, (row.reason, row.note, ", ".join(figures))))]


def _escape(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _to_json(value: Any) -> Any:
    """Put infinity and NaN, which JSON does not know, into words."""
    if isinstance(value, dict):
        return {name: _to_json(inner) for name, inner in value.items()}
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def format_figure(value: float) -> str:
    """Write a number with three digits that count, whole where it is large."""
    if not math.isfinite(value):
        return str(value)
    if (value == int(value) and abs(value) < 1e6) or abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.1e}" if 0 < abs(value) < 1e-3 else f"{value:.3g}"
