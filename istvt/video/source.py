"""Open whatever the user names as a source of frames."""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Protocol
from urllib.parse import unquote, urlsplit

from istvt.errors import SourceNotFoundError, UnreadableSourceError
from istvt.records import Frame
from istvt.video.address import printable, scheme_of

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".gif", ".m4v", ".mpg"})


IMAGES_FPS = 25.0


class Source(Protocol):
    """Frames in order, each once; a context manager. A second loop resumes where the first stopped.

    Attributes:
        name: printable name, without user and password.
        is_live: whether new frames replace unread ones; otherwise every frame is yielded.
        fps: mean frames per second, if known.
        size_wh: size of the first frame, if known; a stream may change it.
        frames_declared: number of frames that a recording declares, if any.
        frames_read: number of frames yielded so far.
    """

    name: str
    is_live: bool
    fps: float | None
    size_wh: tuple[int, int] | None
    frames_declared: int | None
    frames_read: int

    @property
    def frames_dropped(self) -> int:
        """Number of frames of a live source that a newer one replaced; 0 for a recording."""

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None:
        """Release the file, device or connection; no further frames are yielded."""

    def __enter__(self) -> "Source": ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def open_source(
    spec: str | Path, *, images_fps: float = IMAGES_FPS, decode_threads: int | None = None
) -> Source:
    """Open a video, an image, a folder of images or a URL; cameras have `camera.open_camera`.

    Args:
        spec: a path, or a URL such as `rtsp://`, `http://` or `udp://`. A recording yields every
            frame, then raises `BrokenSourceError` if some were lost.
        images_fps: rate at which a folder's images were taken.
        decode_threads: number of threads to decode a video file; None uses one per core.

    Raises:
        SourceNotFoundError: no such file, or a folder without images.
        UnreadableSourceError: the source exists but yields no frames.
        UsageError: the URL has an unknown scheme.
    """
    scheme = scheme_of(str(spec)) if isinstance(spec, str) else None
    if scheme == "file":
        spec = Path(unquote(urlsplit(str(spec).strip()).path))
    elif scheme is not None:
        from istvt.video.network import open_url

        return open_url(str(spec).strip())
    return _open_path(Path(spec).expanduser(), images_fps, decode_threads)


def _open_path(path: Path, images_fps: float, decode_threads: int | None) -> Source:
    from istvt.video.file import open_video
    from istvt.video.images import is_image, open_image, open_image_folder

    try:
        if path.is_dir():
            return open_image_folder(path, fps=images_fps)
        if not path.exists():
            raise SourceNotFoundError(_missing(path))
    except PermissionError:
        raise UnreadableSourceError(
            f"{path}: no permission for this folder; allow it with chmod +rx, or run as its owner"
        ) from None
    if is_image(path):
        return open_image(path)
    return open_video(path, decode_threads=decode_threads)


def _missing(path: Path) -> str:
    if path.name.isdecimal() and len(path.parts) == 1:
        return f"{path}: there is no such file; for a camera use --camera {path}"
    name = printable(str(path))  # a URL passed as a path is still a URL
    lost = name if path.parent.is_dir() or scheme_of(str(path)) else path.parent
    return f"{name}: there is no {lost}; expected a video, an image, a folder of images or a URL"
