"""Pictures in, a window on the screen out."""

import os
import sys

import cv2

from istvt.errors import RuntimeEnvironmentError
from istvt.records import UInt8Array

QUIT_KEYS = frozenset({ord("q"), 27})  # q, Esc


class Display:
    """One window; `q`, Esc or its close button asks to stop.

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
                "(not -headless), or use --save out.mp4 in place of --show"
            ) from error

    def show(self, picture: UInt8Array) -> bool:
        """Show one picture; returns False once the user asked to stop."""
        cv2.imshow(self._title, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        is_quit = cv2.waitKey(1) & 0xFF in QUIT_KEYS
        return not is_quit and cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1

    def close(self) -> None:
        """Take the window away."""
        cv2.destroyWindow(self._title)


def _check_display() -> None:
    """Refuse before OpenCV's window toolkit does, since that aborts the process."""
    has_server = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.platform.startswith("linux") and not has_server:
        raise RuntimeEnvironmentError(
            "--show needs a display and neither DISPLAY nor WAYLAND_DISPLAY is set: "
            "use --save out.mp4 in its place"
        )
