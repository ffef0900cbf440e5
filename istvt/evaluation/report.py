"""Report an evaluation: a table for the terminal, JSON and CSV."""

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from istvt.evaluation.evaluate import EvaluatedData, Evaluation, VideoScore
from istvt.evaluation.intervals import LEVEL, Interval
from istvt.evaluation.overlap import Overlap
from istvt.evaluation.summary import LEAST_PEOPLE, Measured, Part, Summary

SCHEMA_VERSION = 1
SHOWN_DIGITS = 12
FEW_GROUPS = 10  # percentile intervals of fewer miss the truth much more often than they claim
UNNAMED = "(no method named)"
ROWS = {
    "auc": "AUC",
    "average_precision": "AP",
    "eer": "EER",
    "accuracy": "accuracy at 0.5",
    "tpr_at_1_fpr": "TPR at 1 % FPR",
    "ece": "ECE, 15 bins",
    "brier": "Brier",
}
CSV_FIELDS = ("path", "label", "method", "identities", "source", "windows", "fake_probability")


@dataclass(frozen=True, eq=False)
class Report:
    """All results of one evaluation.

    Attributes:
        run: the folder of the evaluated run.
        found: the scores.
        summary: the metrics of the whole and of each fake method, with intervals.
        data: the data evaluated.
        overlap: the data that the run was trained on; None if unknown.
    """

    run: Path
    found: Evaluation
    summary: Summary
    data: EvaluatedData
    overlap: Overlap | None


def format_summary(found: Evaluation, summary: Summary) -> str:
    """Format the metrics, each with its interval, followed by one line per method."""
    return "\n".join([*_head(found, summary), "", *_whole(summary.whole), *_methods(summary)])


def format_data(data: EvaluatedData) -> str:
    """Describe the evaluated data in one line; the whole digest is in the JSON."""
    parts = [f"data: {data.root}, read as {data.layout}"]
    parts += [f"compression {', '.join(data.compressions)}"] if data.compressions else []
    parts += [f"methods {', '.join(data.methods)}"] if data.methods else []
    return ", ".join([*parts, f"faces {data.digest[:SHOWN_DIGITS]}"])


def to_dict(report: Report) -> dict[str, Any]:
    """Convert a report to values that JSON can hold; paths are relative to the data's root."""
    found, summary, data, overlap = report.found, report.summary, report.data, report.overlap
    root = data.root
    return {
        "schema_version": SCHEMA_VERSION,
        "data": {
            "root": root.as_posix(),
            "layout": data.layout,
            "compressions": list(data.compressions),
            "methods": list(data.methods),
            "notes": list(data.notes),
            "faces": data.digest,
        },
        "known_to_the_run": None if overlap is None else asdict(overlap),
        "split": found.split,
        "loss": found.loss,
        "intervals": {
            "level": LEVEL,
            "resamples": summary.resamples,
            "unit": summary.unit,
            "groups": summary.groups,
        },
        "whole": asdict(summary.whole),
        "methods": [asdict(part) for part in summary.methods],
        "videos": [score_to_dict(score, root=root) for score in found.scores],
        "skipped": [
            {"path": _name(skipped.path, root), "reason": skipped.reason}
            for skipped in found.skipped
        ],
    }


def to_csv(found: Evaluation, *, root: Path) -> str:
    """Format the videos' scores as CSV with a header; semicolons separate people."""
    text = io.StringIO()
    table = csv.DictWriter(text, CSV_FIELDS, lineterminator="\n")
    table.writeheader()
    for score in found.scores:
        row = score_to_dict(score, root=root)
        table.writerow({**row, "identities": ";".join(row["identities"])})
    return text.getvalue()


def score_to_dict(score: VideoScore, *, root: Path) -> dict[str, Any]:
    """Convert one video's score to values that JSON can hold."""
    video = score.video
    return {
        "path": _name(video.path, root),
        "label": score.label,
        "method": score.method,
        "identities": list(video.identities),
        "source": "" if video.source is None else _name(video.source, root),
        "windows": score.windows,
        "fake_probability": score.fake_probability,
    }


def _head(found: Evaluation, summary: Summary) -> Iterator[str]:
    whole = summary.whole
    yield (
        f"{found.split}: {whole.reals} real and {whole.fakes} fake videos, "
        f"{whole.windows.metrics.count} windows, loss {found.loss:.4f}"
    )
    if summary.resamples:
        what = "videos" if summary.unit == "videos" else "groups of people who share videos"
        drawn = f"{summary.resamples} resamples of {summary.groups} {what}"
        few = ", too few: the true ones are wider" if summary.groups < FEW_GROUPS else ""
        yield f"{LEVEL * 100:.0f} % intervals: {drawn}{few}"
        if summary.unit == "videos" and summary.people_groups is not None:
            yield (
                f"people are named, but form only {summary.people_groups} groups who share videos, "
                f"too few to draw (of {LEAST_PEOPLE}): videos of one person are alike, and the "
                "true intervals wider"
            )


def _whole(part: Part) -> Iterator[str]:
    yield f"{'':<18}{'windows':<26}videos"
    for name, title in ROWS.items():
        yield f"{title:<18}{_cell(part.windows, name):<26}{_cell(part.videos, name)}"


def _methods(summary: Summary) -> Iterator[str]:
    if not summary.methods:
        return
    names = [part.method or UNNAMED for part in summary.methods]
    width = max(map(len, [*names, "fakes of"])) + 2
    titles = ("AUC of windows", "AUC of videos", "TPR at 1 % FPR of videos")
    yield ""
    yield f"each method against all {summary.whole.reals} real videos"
    yield f"{'fakes of':<{width}}{'videos':>6}  " + "".join(f"{t:<26}" for t in titles).rstrip()
    for name, part in zip(names, summary.methods, strict=True):
        cells = (
            _cell(part.windows, "auc"),
            _cell(part.videos, "auc"),
            _cell(part.videos, "tpr_at_1_fpr"),
        )
        yield f"{name:<{width}}{part.fakes:>6}  " + "".join(f"{c:<26}" for c in cells).rstrip()


def _cell(measured: Measured, name: str) -> str:
    value: float = getattr(measured.metrics, name)
    interval = measured.intervals.get(name)
    return f"{value:.4f}" + ("" if interval is None else f" {_span(interval)}")


def _span(interval: Interval) -> str:
    return f"[{interval.low:.4f}, {interval.high:.4f}]"


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
