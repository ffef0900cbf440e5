"""Nothing in, the cameras that the system knows out; no camera is opened."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CameraInfo:
    """A camera that the system knows."""

    index: int
    name: str
    path: Path


def list_cameras(
    devices: Path = Path("/dev"), names: Path = Path("/sys/class/video4linux")
) -> list[CameraInfo]:
    """List the system's cameras (on Linux; a webcam often has a second node without pictures)."""
    cameras = []
    for path in devices.glob("video*"):
        number = path.name.removeprefix("video")
        if number.isdecimal():
            label = names / path.name / "name"
            name = label.read_text().strip() if label.is_file() else "unnamed"
            cameras.append(CameraInfo(int(number), name, path))
    return sorted(cameras, key=lambda camera: camera.index)
