"""A generator of frames in, a source of a finished recording out: nothing is dropped."""

from collections.abc import Generator

from istvt.closing import ClosesOnExit
from istvt.errors import UnreadableSourceError
from istvt.records import Frame


class RecordedSource(ClosesOnExit):
    """A file, an image or a folder of images, read once and in order, frame by frame.

    The first frame is read at once, so that what cannot be read fails where it is opened.

    Args:
        frames: owns what it reads from, and lets go of it when it ends or is closed.
        fps: mean frames per second; None where there is no rate.
        frames_declared: what the recording says it holds; None where it does not say.

    Raises:
        UnreadableSourceError: there is not one frame.
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
            raise UnreadableSourceError(f"{name}: it holds no pictures; is the recording empty?")
        height, width = self._first.image.shape[:2]
        self.size_wh: tuple[int, int] | None = (width, height)

    def __iter__(self) -> "RecordedSource":
        return self

    def __next__(self) -> Frame:
        frame, self._first = self._first or next(self._frames), None
        self.frames_read += 1
        return frame

    def close(self) -> None:
        """Let go of the file; the source then holds no further frames."""
        self._first = None
        self._frames.close()
