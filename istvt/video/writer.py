"""Write RGB images to a video file, which gets its name only when it is complete."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream

from istvt.closing import ClosesOnExit
from istvt.errors import RuntimeEnvironmentError, UsageError
from istvt.records import UInt8Array
from istvt.video.decode import explain

logger = logging.getLogger(__name__)

SUFFIXES = frozenset({".mp4", ".mov", ".mkv"})
TICKS_PER_S = 60_000  # a multiple of 24, 25, 30 and 30000/1001; MPEG-4 allows up to 65535
PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower")
DEFAULT_CRF = 20
# Playable at any moment, even after a kill; closing turns it into a plain file with an index.
# Without `delay_moov`, times would start late by the encoder's delay.
# Source: FFmpeg's documentation of the mov muxer, `hybrid_fragmented`.
KILL_SAFE = {"movflags": "hybrid_fragmented+delay_moov"}
FRAGMENTED_SUFFIXES = frozenset({".mp4", ".mov"})


class VideoWriter(ClosesOnExit):
    """Writes H.264, or MPEG-4 if this build of FFmpeg has no libx264; a context manager.

    Until it is closed, the file is called `<name>.part<suffix>`. Closing finishes it, however the
    `with` block ended: after Ctrl-C or an error, the written frames can be played. After a kill or
    a power cut, the `.part` file can be played up to its last key frames.

    Args:
        path: ends in .mp4, .mov or .mkv; missing folders are created.
        fps: frames per second when `write` is called without times.
        size_wh: size of every image; odd sides are padded to even ones, as H.264 requires.
        crf: quality, 0 (lossless) to 51 (worst).
        preset: one of `PRESETS`, from the fastest to write to the smallest file.

    Raises:
        UsageError: an argument is out of range, or the path cannot be written.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        fps: float,
        size_wh: tuple[int, int],
        crf: int = DEFAULT_CRF,
        preset: str = "veryfast",
    ) -> None:
        self.path = Path(path)
        self.size_wh = size_wh
        self.frames_written = 0
        self._fps = fps
        self._last_tick = -1
        self._closed = False
        _check(self.path, fps=fps, size_wh=size_wh, crf=crf, preset=preset)
        self._part_path = self.path.with_name(f"{self.path.stem}.part{self.path.suffix}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._container = _open(self._part_path)
        except OSError as error:
            raise UsageError(
                f"{self.path}: cannot be written: {error.strerror}; choose a writable path"
            ) from error
        options = {"crf": str(crf), "preset": preset}
        self._stream = self._add_stream(options)

    def write(self, image: UInt8Array, *, time_s: float | None = None) -> None:
        """Append one image.

        Args:
            image: `(H, W, 3)` RGB.
            time_s: when it is shown; None shows frames at `fps`.

        Raises:
            UsageError: the image has the wrong size or type, or its time is not after the last.
            RuntimeEnvironmentError: the disk is full, or the encoder failed.
        """
        if self._closed:
            raise UsageError(f"{self.path}: is closed; open a new VideoWriter to write more")
        expected = (self.size_wh[1], self.size_wh[0], 3)
        if image.shape != expected or image.dtype != np.uint8:
            raise UsageError(
                f"{self.path}: got an image {image.shape} of {image.dtype}, expected {expected} "
                "of uint8 (height, width, RGB)"
            )
        frame = av.VideoFrame.from_ndarray(_fill_to_even(image), format="rgb24")
        frame.pts = self._tick(time_s)
        frame.time_base = Fraction(1, TICKS_PER_S)
        with self._telling():
            self._container.mux(self._stream.encode(frame))
        self.frames_written += 1

    def close(self) -> None:
        """Finish the file and rename it; without frames there is no file."""
        if self._closed:
            return
        self._closed = True
        with self._telling(), self._container:
            if self.frames_written:
                self._container.mux(self._stream.encode(None))
        if self.frames_written:
            self._part_path.replace(self.path)
        else:
            self._part_path.unlink(missing_ok=True)
            logger.warning("%s: not one frame was written, so there is no file", self.path)

    def _add_stream(self, options: dict[str, str]) -> VideoStream:
        rate = Fraction(self._fps).limit_denominator(1001)
        if "libx264" in av.codecs_available:
            stream = self._container.add_stream("libx264", rate=rate, options=options)
        else:
            stream = self._container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height = (side + side % 2 for side in self.size_wh)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, TICKS_PER_S)
        return stream

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except (av.FFmpegError, OSError) as error:
            raise RuntimeEnvironmentError(
                f"{self.path}: writing stopped after {self.frames_written} frames: "
                f"{explain(error)}; is the disk full? The frames written are in {self._part_path}"
            ) from error

    def _tick(self, time_s: float | None) -> int:
        seconds = self.frames_written / self._fps if time_s is None else time_s
        tick = round(seconds * TICKS_PER_S)
        if tick <= self._last_tick:
            raise UsageError(
                f"{self.path}: got a frame at {seconds:.3f} s after one at "
                f"{self._last_tick / TICKS_PER_S:.3f} s; times must increase from 0"
            )
        self._last_tick = tick
        return tick


def _open(path: Path) -> av.container.OutputContainer:
    options = KILL_SAFE if path.suffix.lower() in FRAGMENTED_SUFFIXES else {}
    return av.open(
        str(path.absolute()), "w", options=options
    )  # a relative `cam:1.mp4` is a URL to FFmpeg


def _check(path: Path, *, fps: float, size_wh: tuple[int, int], crf: int, preset: str) -> None:
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"{path}: got the suffix {path.suffix or '(none)'}, expected one of "
            f"{', '.join(sorted(SUFFIXES))}"
        )
    if not fps > 0 or min(size_wh) < 1:
        raise UsageError(f"{path}: got {fps} fps and size {size_wh}, expected numbers above 0")
    if not 0 <= crf <= 51:
        raise UsageError(f"{path}: got crf {crf}, expected 0 (lossless) to 51 (worst)")
    if preset not in PRESETS:
        raise UsageError(f"{path}: got preset {preset}, expected one of {', '.join(PRESETS)}")


def _fill_to_even(image: UInt8Array) -> UInt8Array:
    height, width = image.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return np.ascontiguousarray(image)
    return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
