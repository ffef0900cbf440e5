"""Read a video file's frames upright, with their real times, and report every loss.

FFmpeg ends a truncated file like a complete one. So the frames read are compared with the declared
number of frames or, if there is none, with the declared duration.
"""

import os
from collections.abc import Generator
from math import ceil
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from istvt.errors import BrokenSourceError, SourceError, UnreadableSourceError
from istvt.records import Frame
from istvt.video.decode import Clock, SoundDecoder, explain, find_video, rate_of, to_upright_rgb
from istvt.video.recorded import RecordedSource

DEFAULT_FPS = 25.0  # for frames without time stamps in a stream that declares no rate
COUNT_TOLERANCE = (2, 0.01)  # frames, and share of the declared ones: may be lost at the ends
GIF_TAIL_BYTES = 64  # some programs write a few bytes after the trailer
TIME_TOLERANCE = (0.25, 0.01)  # seconds, and share of the declared duration


def open_video(path: Path, *, decode_threads: int | None = None) -> RecordedSource:
    """Open a video file.

    If frames are missing, iterating raises `BrokenSourceError` after the last intact one.

    Args:
        path: path of the file.
        decode_threads: number of threads; None lets FFmpeg use one per core.

    Raises:
        UnreadableSourceError: the file cannot be opened, is not a video, or no frame decodes.
    """
    if path.stat().st_size == 0:
        raise UnreadableSourceError(f"{path}: the file is empty (0 bytes); copy or record it again")
    try:
        container = av.open(str(path.absolute()))  # a relative `12:30.mp4` is a URL to FFmpeg
    except PermissionError:
        raise UnreadableSourceError(
            f"{path}: no permission to read it; allow it with chmod +r or run as its owner"
        ) from None
    except av.InvalidDataError:
        raise UnreadableSourceError(
            f"{path}: not a video file, or one that was cut off before its index was written "
            "(expected mp4, avi, mov, mkv, webm or gif); play it once, or copy it again"
        ) from None
    except (av.FFmpegError, OSError) as error:
        raise UnreadableSourceError(f"{path}: cannot be opened: {error.strerror}") from error
    is_cut = container.format.name == "gif" and not _has_gif_end(path)
    damage = "it lacks the end mark of a gif" if is_cut else None
    return source_of(container, name=str(path), known_damage=damage, decode_threads=decode_threads)


def _has_gif_end(path: Path) -> bool:
    """Check for the trailer; FFmpeg declares only the frames that a truncated gif still holds."""
    with path.open("rb") as file:
        file.seek(-min(GIF_TAIL_BYTES, path.stat().st_size), os.SEEK_END)
        return b"\x00;" in file.read()


def source_of(
    container: InputContainer,
    *,
    name: str,
    known_damage: str | None = None,
    decode_threads: int | None = None,
) -> RecordedSource:
    """Read an open recording as a source, which closes it.

    Args:
        container: open for reading.
        name: printable name.
        known_damage: damage already known; reported once the frames are read.
        decode_threads: number of threads; None lets FFmpeg use one per core.
    """
    stream = find_video(container)
    if stream is None:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        container.close()
        raise UnreadableSourceError(
            f"{name}: holds no video that can be decoded (found: {kinds}); "
            "give a file with a video track"
        )
    stream.thread_type = "AUTO"
    if decode_threads is not None:
        stream.codec_context.thread_count = decode_threads
    declared = count_declared(container, stream)
    progress = _Progress(name, declared, known_damage)
    frames = _read(container, stream, progress)
    return RecordedSource(name, frames, fps=rate_of(stream), frames_declared=declared)


def count_declared(container: InputContainer, stream: VideoStream) -> int | None:
    """Return how many frames the stream should yield; an edit list may hide some stored ones."""
    if not stream.frames:
        return None
    rate, duration = rate_of(stream), stream.duration
    if "mp4" not in container.format.name or not rate or not duration or not stream.time_base:
        return stream.frames
    return min(stream.frames, ceil(float(duration * stream.time_base) * rate - 1e-6))


def _read(
    container: InputContainer, stream: VideoStream, progress: "_Progress"
) -> Generator[Frame, None, None]:
    decoder = SoundDecoder()
    clock = Clock(1.0 / (rate_of(stream) or DEFAULT_FPS))
    index = -1
    try:
        for packet in container.demux():
            progress.reach(packet)
            if packet.stream is not stream:
                continue
            for picture, lost in decoder.decode(packet):
                index += 1 + lost
                time_s = clock.tell(picture.time)
                yield Frame(
                    to_upright_rgb(picture), index=index, time_s=time_s, source=progress.name
                )
                progress.frames_read += 1
        failure = None
    except av.FFmpegError as error:
        failure = explain(error)
    finally:
        declared_s = _declared_end_s(container)
        container.close()
    progress.check(damaged=decoder.damaged, declared_end_s=declared_s, failure=failure)


def _declared_end_s(container: InputContainer) -> float | None:
    """Return the earliest end time: Matroska's duration starts at 0, others' at the first frame."""
    return None if container.duration is None else container.duration / av.time_base


class _Progress:
    """Compares the frames read from a recording with those it declares."""

    def __init__(self, name: str, frames_declared: int | None, known_damage: str | None) -> None:
        self.name = name
        self.known_damage = known_damage
        self.frames_declared = frames_declared
        self.frames_read = 0
        self.reached_s = 0.0

    def reach(self, packet: "av.Packet[av.stream.Stream]") -> None:
        if packet.pts is not None and packet.time_base:
            end_s = float((packet.pts + (packet.duration or 0)) * packet.time_base)
            self.reached_s = max(self.reached_s, end_s)

    def check(self, *, damaged: int, declared_end_s: float | None, failure: str | None) -> None:
        """Raise an error if frames are missing."""
        reasons = [self.known_damage] if self.known_damage else []
        reasons += [f"reading stopped: {failure}"] if failure else []
        reasons += [f"{damaged} packets or frames were damaged"] if damaged else []
        if not reasons and self._is_short(declared_end_s):
            reasons.append(f"it ends at {self.reached_s:.2f} s, before its declared end")
        if reasons:
            raise self._error("; ".join(reasons))

    def _is_short(self, declared_end_s: float | None) -> bool:
        if self.frames_declared is not None:
            allowed = max(COUNT_TOLERANCE[0], COUNT_TOLERANCE[1] * self.frames_declared)
            return self.frames_declared - self.frames_read > allowed
        if declared_end_s is None:
            return False
        allowed_s = max(TIME_TOLERANCE[0], TIME_TOLERANCE[1] * declared_end_s)
        return declared_end_s - self.reached_s > allowed_s

    def _error(self, reason: str) -> SourceError:
        if not self.frames_read:
            return UnreadableSourceError(
                f"{self.name}: not one frame could be decoded ({reason}); copy the file again"
            )
        of_declared = f" of {self.frames_declared}" if self.frames_declared is not None else ""
        return BrokenSourceError(
            f"{self.name}: broken recording, {self.frames_read}{of_declared} frames were read "
            f"({reason}); what was read stays valid, copy the file again for the rest",
            frames_read=self.frames_read,
            frames_declared=self.frames_declared,
        )
