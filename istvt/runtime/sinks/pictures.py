"""Show frames with their overlay in a window, and save them as a video."""

import os
import sys
from pathlib import Path

import cv2

from istvt.errors import RuntimeEnvironmentError
from istvt.records import UInt8Array
from istvt.runtime.pipeline import FrameResult
from istvt.runtime.session import SessionReport
from istvt.runtime.sinks.overlay import draw
from istvt.runtime.stages import StageTimers
from istvt.video.writer import VideoWriter

QUIT_KEYS = frozenset({ord("q"), 27})  # q, Esc


class Display:
    """Shows pictures in a window; `q`, Esc or its close button asks to stop.

    Raises:
        RuntimeEnvironmentError: there is no display, or this OpenCV has no windows.
    """

    def __init__(self, title: str) -> None:
        _check_display()
        self._title = title
        try:
            cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        except cv2.error as error:
            raise RuntimeEnvironmentError(
                "this OpenCV was built without windows: pip install opencv-python "
                "(not -headless), or use --save out.mp4 instead of --show"
            ) from error

    def show(self, picture: UInt8Array) -> bool:
        """Show one picture; return False once the user has asked to stop."""
        cv2.imshow(self._title, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        is_quit = cv2.waitKey(1) & 0xFF in QUIT_KEYS
        return not is_quit and cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1

    def close(self) -> None:
        """Close the window."""
        cv2.destroyWindow(self._title)


def _check_display() -> None:
    """Refuse before OpenCV's window toolkit does, because it aborts the process."""
    has_server = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.platform.startswith("linux") and not has_server:
        raise RuntimeEnvironmentError(
            "--show needs a display and neither DISPLAY nor WAYLAND_DISPLAY is set: "
            "use --save out.mp4 instead"
        )


FALLBACK_FPS = 25.0  # in the file's header, if the source has no rate; frame times stay exact


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
        """Draw, write and show one frame; return False once the user has closed the window."""
        with self._timers.time("draw"):
            picture = draw(result, footer=f"{result.frame.time_s:8.2f} s  {self._footer}")
        if self._save is not None:
            with self._timers.time("save"):
                self._write(self._save, picture, time_s=result.frame.time_s)
        return self._display is None or self._display.show(picture)

    def finish(self, report: SessionReport) -> None:
        """Do nothing: every frame has been drawn already."""

    def close(self) -> None:
        """Finish the file and close the window."""
        if self._writer is not None:
            self._writer.close()
        if self._display is not None:
            self._display.close()

    def _write(self, path: Path, picture: UInt8Array, *, time_s: float) -> None:
        if self._writer is None:
            size_wh = (picture.shape[1], picture.shape[0])
            self._writer = VideoWriter(path, fps=self._fps, size_wh=size_wh)
            self._start_s = time_s
        if (picture.shape[1], picture.shape[0]) != self._writer.size_wh:  # streams may change
            picture = cv2.resize(picture, self._writer.size_wh, interpolation=cv2.INTER_AREA)
        self._writer.write(picture, time_s=time_s - self._start_s)
