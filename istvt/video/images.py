"""Read an image file, or a folder of images in natural order of their names, as frames."""

import re
from collections.abc import Generator, Sequence
from pathlib import Path

import cv2
import numpy as np

from istvt.errors import BrokenSourceError, SourceNotFoundError, UnreadableSourceError
from istvt.records import Frame, UInt8Array
from istvt.video.quiet import quiet_opencv
from istvt.video.recorded import RecordedSource

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})


def is_image(path: Path) -> bool:
    """Check whether the name is that of a still image; a gif counts as a video."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def natural_key(path: Path) -> list[tuple[int, str]]:
    """Return a sort key that orders `frame_2` before `frame_10`."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def open_image(path: Path) -> RecordedSource:
    """Open one image as a source of one frame."""
    frames = _read([path], name=str(path), period_s=0.0)
    return RecordedSource(str(path), frames, fps=None, frames_declared=1)


def open_image_folder(folder: Path, *, fps: float) -> RecordedSource:
    """Open a folder of images of one size as a source.

    Args:
        folder: folder of the images; other files in it are ignored.
        fps: rate at which they were taken; sets the frames' times.

    Raises:
        SourceNotFoundError: the folder holds no images.
        UnreadableSourceError: the first image cannot be decoded.
    """
    paths = sorted(filter(is_image, folder.iterdir()), key=natural_key)
    if not paths:
        raise SourceNotFoundError(
            f"{folder}: a folder without images (expected {', '.join(sorted(IMAGE_SUFFIXES))}); "
            "give a folder of frames, or one video file"
        )
    frames = _read(paths, name=str(folder), period_s=1.0 / fps)
    return RecordedSource(str(folder), frames, fps=fps, frames_declared=len(paths))


def read_image(path: Path) -> UInt8Array:
    """Read an image upright (EXIF orientation applied).

    Returns:
        `(H, W, 3)` RGB; transparency and bits beyond the eighth are dropped.

    Raises:
        UnreadableSourceError: the file cannot be read or decoded.
    """
    try:
        content = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise UnreadableSourceError(f"{path}: cannot be read: {error.strerror}") from error
    with quiet_opencv():
        image = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
    if image is None:
        raise UnreadableSourceError(
            f"{path}: not an image, or a damaged one ({content.size} bytes); copy it again"
        )
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _read(paths: Sequence[Path], *, name: str, period_s: float) -> Generator[Frame, None, None]:
    damaged: list[Path] = []
    first_shape = None
    for index, path in enumerate(paths):
        try:
            image = read_image(path)
        except UnreadableSourceError:
            if not index:
                raise
            damaged.append(path)
            continue
        first_shape = first_shape or image.shape
        if image.shape != first_shape:
            raise UnreadableSourceError(_sizes_differ(paths[0], first_shape, path, image.shape))
        yield Frame(image, index=index, time_s=index * period_s, source=name)
    if damaged:
        raise BrokenSourceError(
            f"{name}: {len(damaged)} of {len(paths)} images could not be decoded, the first is "
            f"{damaged[0].name}; the others stay valid, copy these again",
            frames_read=len(paths) - len(damaged),
            frames_declared=len(paths),
        )


def _sizes_differ(
    first: Path, first_shape: tuple[int, ...], other: Path, shape: tuple[int, ...]
) -> str:
    return (
        f"{first.parent}: the images differ in size: {first.name} is {first_shape[1]}x"
        f"{first_shape[0]}, {other.name} is {shape[1]}x{shape[0]}; the frames of one video must "
        "have one size, so move other images out of the folder"
    )
