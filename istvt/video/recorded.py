"""Read a finished recording as a source that drops no frames."""

from collections.abc import Generator

from istvt.closing import ClosesOnExit
from istvt.errors import UnreadableSourceError
from istvt.records import Frame


class RecordedSource(ClosesOnExit):
    """A file, an image or a folder of images, read once and in order, frame by frame.

    The first frame is read at once, so that an unreadable recording fails when it is opened.

    Args:
        name: printable name.
        frames: owns the file it reads, and releases it when it ends or is closed.
        fps: mean frames per second; None if there is no rate.
        frames_declared: number of frames that the recording declares; None if it declares none.

    Raises:
        UnreadableSourceError: the recording holds no frame.
    """

    is_live = False
    frames_dropped = 0

    def __init__(
        self,
        name: str,
        frames: Generator[Frame, None, None],
        *,
        fps: float | None,
        frames_declared: int | None,
    ) -> None:
        self.name = name
        self.fps = fps
        self.frames_declared = frames_declared
        self.frames_read = 0
        self._frames = frames
        self._first = next(frames, None)
        if self._first is None:
            raise UnreadableSourceError(f"{name}: it holds no frames; is the recording empty?")
        height, width = self._first.image.shape[:2]
        self.size_wh: tuple[int, int] | None = (width, height)

    def __iter__(self) -> "RecordedSource":
        return self

    def __next__(self) -> Frame:
        frame, self._first = self._first or next(self._frames), None
        self.frames_read += 1
        return frame

    def close(self) -> None:
        """Release the file; the source then yields no further frames."""
        self._first = None
        self._frames.close()
