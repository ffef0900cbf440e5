"""Decode a video stream into intact frames, upright and in RGB."""

import heapq
import logging
from typing import Any

import av
import numpy as np
from av.stream import Disposition
from av.video.stream import VideoStream

from istvt.records import UInt8Array

logger = logging.getLogger(__name__)

TEXT_FORMATS = frozenset({"tty"})  # FFmpeg would render a text file as images of its letters
NO_ANSWER = "no answer in time"
MAX_PENDING = 1000  # packets; far above any decoder's delay, and a bound on memory


class SoundDecoder:
    """Decodes packet by packet and withholds every frame that damage has reached.

    A decoder conceals what it cannot read, and later frames copy from the concealed one. Such
    frames look manipulated, so all are withheld until the next key frame.

    Attributes:
        damaged: number of packets and frames that could not be decoded.
    """

    def __init__(self) -> None:
        self.damaged = 0
        self._tainted = False
        self._pending_pts: list[int] = []

    def decode(self, packet: "av.Packet[Any]") -> list[tuple[av.VideoFrame, int]]:
        """Decode one packet (an empty one flushes).

        Returns:
            Intact frames, each with the number of frames lost directly before it.
        """
        if packet.is_corrupt:
            self._taint(f"damaged packet at {packet.pts}")
            self._expect(packet)
            return []
        self._expect(packet)
        try:
            pictures = packet.decode()
        except av.FFmpegError as error:
            self._taint(explain(error))
            return []
        return [
            (picture, self._lost_before(picture)) for picture in pictures if self._is_sound(picture)
        ]

    def _expect(self, packet: "av.Packet[Any]") -> None:
        if packet.size and packet.pts is not None and not packet.is_discard:
            heapq.heappush(self._pending_pts, packet.pts)
        if len(self._pending_pts) > MAX_PENDING:
            heapq.heappop(self._pending_pts)

    def _is_sound(self, picture: av.VideoFrame) -> bool:
        if picture.is_corrupt:
            self._taint(f"damaged frame at {picture.pts}")
        elif picture.key_frame:
            self._tainted = False
        return not self._tainted

    def _taint(self, reason: str) -> None:
        self._tainted = True
        self.damaged += 1
        logger.debug("decoding: %s", reason)

    def _lost_before(self, picture: av.VideoFrame) -> int:
        """Count the packets due before this frame that were never shown."""
        lost = 0
        while picture.pts is not None and self._pending_pts and self._pending_pts[0] <= picture.pts:
            lost += heapq.heappop(self._pending_pts) < picture.pts
        return lost if self.damaged else 0


class Clock:
    """Turns time stamps into presentation times in seconds from 0, always increasing.

    Args:
        period_s: added when a frame has no time stamp, or one that does not increase.
    """

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._start_s: float | None = None
        self._last_s = 0.0

    def tell(self, stamp_s: float | None) -> float:
        """Return the seconds from the first frame to the next one, given its time stamp."""
        if self._start_s is None:
            self._start_s = stamp_s or 0.0
            return 0.0
        time_s = self._last_s if stamp_s is None else stamp_s - self._start_s
        self._last_s = time_s if time_s > self._last_s else self._last_s + self._period_s
        return self._last_s


def to_upright_rgb(picture: av.VideoFrame) -> UInt8Array:
    """Convert a decoded frame to RGB and rotate it upright, which PyAV itself does not.

    The display matrix maps `(x, y)` to `(a x + c y, b x + d y)`, y downwards.
    Source: ISO/IEC 14496-12, track header box.

    Returns:
        `(H, W, 3)` RGB in its own buffer.
    """
    image: UInt8Array = picture.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
    if picture.format.name == "rgb24":  # not converted: this is still the decoder's buffer
        image = image.copy()
    matrix: Any = picture.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return image
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    if abs(b) > abs(a):
        image, a, d = image.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def find_video(container: av.container.InputContainer) -> VideoStream | None:
    """Find the first video stream that can be decoded; cover art does not count."""
    if container.format.name in TEXT_FORMATS:
        return None
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic and stream.codec_context is not None:
            return stream
    return None


def rate_of(stream: VideoStream) -> float | None:
    """Return the mean frames per second that the stream declares, if any."""
    rate = stream.average_rate or stream.guessed_rate
    return float(rate) if rate else None


def explain(error: Exception) -> str:
    """Explain an FFmpeg error without its own text, which holds the URL and password."""
    match error:
        case av.HTTPUnauthorizedError() | av.HTTPForbiddenError() | PermissionError():
            return "access was refused (wrong or missing user and password?)"
        case av.HTTPNotFoundError():
            return "the server answers but has no such address (404)"
        case ConnectionRefusedError():
            return "the connection was refused"
        case TimeoutError() | av.ExitError():
            return NO_ANSWER
        case av.InvalidDataError():
            return "this is not video data"
    return getattr(error, "strerror", None) or type(error).__name__
