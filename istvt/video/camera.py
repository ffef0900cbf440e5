"""Open a camera by its index as a live source, and list the system's cameras."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
from numpy.typing import NDArray

from istvt.errors import SourceError, SourceNotFoundError, UnreadableSourceError, UsageError
from istvt.records import UInt8Array
from istvt.video.live import STALL_TIMEOUT_S, LiveSource
from istvt.video.quiet import quiet_opencv


@dataclass(frozen=True)
class CameraInfo:
    """A camera of the system."""

    index: int
    name: str
    path: Path


def list_cameras(
    devices: Path = Path("/dev"), names: Path = Path("/sys/class/video4linux")
) -> list[CameraInfo]:
    """List the system's cameras (Linux only; a webcam often has a second node without video)."""
    cameras = []
    for path in devices.glob("video*"):
        number = path.name.removeprefix("video")
        if number.isdecimal():
            label = names / path.name / "name"
            name = label.read_text().strip() if label.is_file() else "unnamed"
            cameras.append(CameraInfo(int(number), name, path))
    return sorted(cameras, key=lambda camera: camera.index)


FAILED_READS_ALLOWED = 5  # in a row; a USB camera loses single frames while it starts
BgrImage = NDArray[Any]


class Capture(Protocol):
    """The methods of `cv2.VideoCapture` in use; tests replace it."""

    def isOpened(self) -> bool: ...  # noqa: D102
    def read(self) -> tuple[bool, BgrImage | None]: ...  # noqa: D102
    def get(self, prop: int) -> float: ...  # noqa: D102
    def set(self, prop: int, value: float) -> bool: ...  # noqa: D102
    def release(self) -> None: ...  # noqa: D102


def open_camera(
    index: int,
    *,
    size_wh: tuple[int, int] | None = None,
    fps: float | None = None,
    stall_timeout_s: float = STALL_TIMEOUT_S,
    opener: Callable[[int], Capture] | None = None,
) -> LiveSource[BgrImage]:
    """Open a camera by its index.

    Args:
        index: 0 for the first.
        size_wh: size to request; the camera may choose a similar one.
        fps: rate to request; the camera may choose a similar one.
        stall_timeout_s: how long to wait for a frame before the source counts as broken.
        opener: opens the device instead of OpenCV (for tests).

    Raises:
        UsageError: the index is negative.
        SourceNotFoundError: there is no such camera; the message lists the cameras found.
        UnreadableSourceError: the camera does not open or delivers no frame.
    """
    if index < 0:
        raise UsageError(f"camera {index}: a camera's index is 0 or more")
    if opener is None and sys.platform == "linux":
        _check_device(index)
    capture = (opener or _open_quietly)(index)
    if not capture.isOpened():
        capture.release()
        raise UnreadableSourceError(
            f"camera {index}: it exists but does not open; close other programs that use it"
        )
    _ask_for(capture, size_wh=size_wh, fps=fps)
    return LiveSource(CameraGrabber(index, capture), stall_timeout_s=stall_timeout_s)


class CameraGrabber:
    """Reads frames from an open camera."""

    def __init__(self, index: int, capture: Capture) -> None:
        self.name = f"camera {index}"
        self._capture = capture
        first = self._read()
        if first is None:
            capture.release()
            raise UnreadableSourceError(
                f"{self.name}: it opens but delivers no frame; try the next index, or close other "
                f"programs that use it.{_found()}"
            )
        self.size_wh: tuple[int, int] | None = (first.shape[1], first.shape[0])
        rate = capture.get(cv2.CAP_PROP_FPS)
        self.fps = rate if rate and rate > 0 else None

    def grab(self) -> tuple[BgrImage, int]:
        """Wait for the next frame, BGR."""
        image = self._read()
        if image is None:
            raise SourceError("the camera delivers no more frames; is it unplugged?")
        return image, 0

    def to_image(self, raw: BgrImage) -> UInt8Array:
        """Convert BGR or grey to RGB."""
        code = cv2.COLOR_GRAY2RGB if raw.ndim == 2 else cv2.COLOR_BGR2RGB
        return cv2.cvtColor(raw, code)

    def close(self) -> None:
        """Release the device."""
        self._capture.release()

    def _read(self) -> BgrImage | None:
        for _ in range(FAILED_READS_ALLOWED):
            worked, image = self._capture.read()
            if worked:
                return image
        return None


def _check_device(index: int) -> None:
    path = Path(f"/dev/video{index}")
    if not path.exists():
        raise SourceNotFoundError(f"camera {index}: there is no {path}.{_found()}")
    if not os.access(path, os.R_OK | os.W_OK):
        raise UnreadableSourceError(
            f"camera {index}: no permission for {path}; add yourself to its group "
            "(sudo usermod -aG video $USER) and log in again"
        )


def _found() -> str:
    cameras = list_cameras()
    if not cameras:
        return (
            " No camera was found: plug one in (in a container, pass it through with "
            "--device /dev/video0), or use --source with a file or URL"
        )
    listed = ", ".join(f"{camera.index} ({camera.name})" for camera in cameras)
    return f" Cameras found: {listed}; choose one with --camera"


def _open_quietly(index: int) -> Capture:
    """Open through the system's own interface, with OpenCV's redundant warnings silenced."""
    with quiet_opencv():
        return cv2.VideoCapture(index, cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY)


def _ask_for(capture: Capture, *, size_wh: tuple[int, int] | None, fps: float | None) -> None:
    wishes: dict[int, float] = {cv2.CAP_PROP_BUFFERSIZE: 1}  # the driver's queue adds delay
    if size_wh:
        wishes |= {cv2.CAP_PROP_FRAME_WIDTH: size_wh[0], cv2.CAP_PROP_FRAME_HEIGHT: size_wh[1]}
    if fps:
        wishes[cv2.CAP_PROP_FPS] = fps
    for prop, value in wishes.items():
        capture.set(prop, value)
