"""Show a stream's progress on the terminal, in one line."""

import time
from collections.abc import Callable
from typing import TextIO

from istvt.records import Verdict
from istvt.runtime.pipeline import FrameResult
from istvt.runtime.session import SessionReport
from istvt.runtime.sinks.overlay import label_of

REFRESH_S = 0.25
WIDTH = 100


class StatusLine:
    """Updates one line on a terminal; elsewhere writes a line for each track that ends."""

    def __init__(self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._clock = clock
        self._started_s = self._shown_s = clock()
        self._frames = 0

    def take(self, result: FrameResult) -> bool:
        """Show the stream's time, its frame rate and the state of each visible face."""
        self._frames += 1
        now_s = self._clock()
        if self._is_terminal and now_s - self._shown_s >= REFRESH_S:
            self._shown_s = now_s
            fps = self._frames / max(now_s - self._started_s, 1e-9)
            faces = "  ".join(label_of(track) for track in result.tracks) or "no face"
            text = f"{result.frame.time_s:9.1f} s {fps:6.1f} fps  {faces}"
            self._stream.write("\r" + text[:WIDTH].ljust(WIDTH))
            self._stream.flush()
        elif not self._is_terminal:
            for verdict in result.ended:
                self._stream.write(_line(verdict) + "\n")
                self._stream.flush()
        return True

    def finish(self, report: SessionReport) -> None:
        """Do nothing: the report follows."""

    def close(self) -> None:
        """Clear the line."""
        if self._is_terminal:
            self._stream.write("\r" + " " * WIDTH + "\r")
            self._stream.flush()


def _line(verdict: Verdict) -> str:
    return f"track {verdict.track_id} ended: {verdict.kind.value}, {verdict.reason}"
