"""Frame results in, pictures with an overlay on a screen and in a video file out."""

from pathlib import Path

import cv2

from istvt.records import UInt8Array
from istvt.runtime.results import FrameResult
from istvt.runtime.session import SessionReport
from istvt.runtime.sinks.display import Display
from istvt.runtime.sinks.overlay import draw
from istvt.runtime.stages import StageTimers
from istvt.video.writer import VideoWriter

FALLBACK_FPS = 25.0  # of the file's header, where the source tells no rate; its times stay true


class Pictures:
    """Draws each frame once, for a window, a file or both."""

    def __init__(
        self,
        *,
        display: Display | None,
        save: Path | None,
        fps: float | None,
        footer: str,
        timers: StageTimers,
    ) -> None:
        self._display = display
        self._save = save
        self._fps = fps or FALLBACK_FPS
        self._footer = footer
        self._timers = timers
        self._writer: VideoWriter | None = None
        self._start_s = 0.0

    def take(self, result: FrameResult) -> bool:
        """Draw, write and show one frame; returns False once the user closed the window."""
        with self._timers.time("draw"):
            picture = draw(result, footer=f"{result.frame.time_s:8.2f} s  {self._footer}")
        if self._save is not None:
            with self._timers.time("save"):
                self._write(self._save, picture, time_s=result.frame.time_s)
        return self._display is None or self._display.show(picture)

    def finish(self, report: SessionReport) -> None:
        """Everything has been drawn already."""

    def close(self) -> None:
        """Finish the file and take the window away."""
        if self._writer is not None:
            self._writer.close()
        if self._display is not None:
            self._display.close()

    def _write(self, path: Path, picture: UInt8Array, *, time_s: float) -> None:
        if self._writer is None:
            size_wh = (picture.shape[1], picture.shape[0])
            self._writer = VideoWriter(path, fps=self._fps, size_wh=size_wh)
            self._start_s = time_s
        if (picture.shape[1], picture.shape[0]) != self._writer.size_wh:  # a stream may change it
            picture = cv2.resize(picture, self._writer.size_wh, interpolation=cv2.INTER_AREA)
        self._writer.write(picture, time_s=time_s - self._start_s)
