"""Format session reports for the terminal, JSON or CSV."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from istvt.errors import ExitCode
from istvt.records import Verdict, VerdictKind
from istvt.runtime.session import SessionReport
from istvt.runtime.sinks.json_lines import report_to_dict, verdict_to_dict

CONCLUSIVE = (VerdictKind.FAKE, VerdictKind.REAL)
CSV_FIELDS = (
    "source",
    "verdict",
    "fake_probability",
    "logit",
    "windows",
    "tracks",
    "frames_read",
    "frames_declared",
    "partial",
    "reason",
)


def exit_code(reports: Sequence[SessionReport]) -> ExitCode:
    """Return the exit code: `DONE` only if every source was read and judged."""
    if any(report.was_interrupted for report in reports):
        return ExitCode.INTERRUPTED
    if all(report.frames_read == 0 or (report.is_live and report.partial) for report in reports):
        return ExitCode.SOURCE
    if all(report.verdict.kind in CONCLUSIVE for report in reports):
        return ExitCode.DONE
    return ExitCode.INCOMPLETE


def format_session(report: SessionReport) -> str:
    """Format one source: two lines for the whole, then a line for each track kept."""
    read = f"{report.frames_read}"
    if report.frames_declared is not None:
        read += f" of {report.frames_declared}"
    lines = [f"{report.source}: {_headline(report.verdict)}"]
    lines.append(f"  {report.verdict.reason}; {read} frames read{_dropped(report)}")
    for verdict in report.tracks:
        span = f"{verdict.start_s:.2f}-{verdict.end_s:.2f} s"
        lines.append(
            f"  track {verdict.track_id:<3} {span:<16} {_headline(verdict):<22} {verdict.reason}"
        )
    return "\n".join(lines)


def format_table(reports: Sequence[SessionReport]) -> str:
    """Format many sources, a line for each."""
    width = max((len(report.source) for report in reports), default=6)
    lines = [f"{'source':<{width}}  {'verdict':<13}{'fake':>7}{'windows':>9}{'tracks':>8}  frames"]
    for report in reports:
        score = report.verdict.score
        probability = "-" if score is None else f"{score.fake_probability:.0%}"
        frames = str(report.frames_read) + (" (partial)" if report.partial else "")
        lines.append(
            f"{report.source:<{width}}  {report.verdict.kind.value:<13}{probability:>7}"
            f"{report.verdict.windows:>9}{report.tracks_seen:>8}  {frames}"
        )
    return "\n".join(lines)


def format_reports(reports: Sequence[SessionReport]) -> str:
    """Format one source with its tracks, or many with a line for each."""
    return format_session(reports[0]) if len(reports) == 1 else format_table(reports)


def to_dicts(reports: Sequence[SessionReport]) -> list[dict[str, Any]]:
    """Return a JSON-ready dict for each source, with its tracks inside."""
    return [
        {
            **report_to_dict(report),
            "verdicts": [verdict_to_dict(track) for track in report.tracks],
        }
        for report in reports
    ]


def to_csv(reports: Sequence[SessionReport]) -> str:
    """Return a CSV table with a header and one row per source."""
    text = io.StringIO()
    table = csv.DictWriter(text, CSV_FIELDS, extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    table.writerows(report_to_dict(report) for report in reports)
    return text.getvalue()


def _headline(verdict: Verdict) -> str:
    if verdict.score is None:
        return verdict.kind.value
    return f"{verdict.kind.value} ({verdict.score.fake_probability:.0%} fake)"


def _dropped(report: SessionReport) -> str:
    return f", {report.frames_dropped} dropped" if report.frames_dropped else ""
