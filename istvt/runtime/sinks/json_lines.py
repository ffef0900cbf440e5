"""Write results as JSON, one object per line, for pipes, logs and other programs."""

import json
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, TextIO

from istvt.records import Score, Verdict
from istvt.runtime.pipeline import FrameResult, TrackView
from istvt.runtime.session import SessionReport

SCHEMA_VERSION = 1


class JsonLines:
    """Writes a line for each scored window and each verdict, and flushes it.

    Lines have a `type`: "window", "verdict" (a track that ended) or "summary" (the source's end).
    A live source's windows also have `captured_at`: the Unix time, in seconds, at which the last
    picture was captured.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def take(self, result: FrameResult) -> bool:
        """Write one frame's windows and verdicts; return False once the reader is gone."""
        try:
            self._write_verdicts(result.ended)
            for track in result.tracks:
                if track.window is not None:
                    self._write(_window_line(result, track, track.window))
        except BrokenPipeError:
            return False
        return True

    def finish(self, report: SessionReport) -> None:
        """Write the last verdicts and the summary."""
        with suppress(BrokenPipeError):
            self._write_verdicts(report.last_tracks)
            self._write({"type": "summary", **report_to_dict(report)})

    def close(self) -> None:
        """Do nothing: the caller closes the stream."""

    def _write_verdicts(self, verdicts: Iterable[Verdict]) -> None:
        for verdict in verdicts:
            self._write({"type": "verdict", **verdict_to_dict(verdict)})

    def _write(self, values: dict[str, Any]) -> None:
        self._stream.write(json.dumps(values, allow_nan=False) + "\n")
        self._stream.flush()


def report_to_dict(report: SessionReport) -> dict[str, Any]:
    """Return the report on a source as a JSON-ready dict."""
    return {
        "schema_version": SCHEMA_VERSION,
        "source": report.source,
        **verdict_to_dict(report.verdict),
        "tracks": report.tracks_seen,
        "frames_read": report.frames_read,
        "frames_declared": report.frames_declared,
        "frames_dropped": report.frames_dropped,
        "partial": report.partial,
        "interrupted": report.was_interrupted,
    }


def verdict_to_dict(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as a JSON-ready dict."""
    return {
        "verdict": verdict.kind.value,
        "track": verdict.track_id,
        "start_s": round(verdict.start_s, 3),
        "end_s": round(verdict.end_s, 3),
        **_score_fields(verdict.score),
        "windows": verdict.windows,
        "reason": verdict.reason,
    }


def _window_line(result: FrameResult, track: TrackView, score: Score) -> dict[str, Any]:
    frame = result.frame
    captured = {} if frame.captured_at is None else {"captured_at": round(frame.captured_at, 3)}
    return {
        "type": "window",
        "source": frame.source,
        "frame": frame.index,
        "time_s": round(frame.time_s, 3),
        **captured,
        "track": track.track_id,
        "box_xyxy": [round(float(edge), 1) for edge in track.face.box_xyxy],
        **_score_fields(score),
        "running_verdict": track.kind.value,
        "running_probability": None if track.probability is None else round(track.probability, 4),
    }


def _score_fields(score: Score | None) -> dict[str, Any]:
    if score is None:
        return {"logit": None, "fake_probability": None, "calibrated": None}
    return {
        "logit": round(score.logit, 4),
        "fake_probability": round(score.fake_probability, 4),
        "calibrated": score.calibrated,
    }
