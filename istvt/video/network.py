"""Open a URL as a live source, or as a recorded one if it is a video file behind http(s).

A recording declares its duration or its length in bytes; a live stream declares neither. A video
file behind http(s) is read like a file on disk: nothing is dropped, and its end is not an error.
Every other scheme is live.
"""

import time
from collections import deque
from collections.abc import Iterator

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from istvt.errors import SourceError, UnreadableSourceError, UsageError
from istvt.records import UInt8Array
from istvt.video.address import printable, scheme_of
from istvt.video.decode import NO_ANSWER, SoundDecoder, explain, find_video, rate_of, to_upright_rgb
from istvt.video.file import source_of
from istvt.video.live import STALL_TIMEOUT_S, LiveSource
from istvt.video.recorded import RecordedSource

FILE_SCHEMES = frozenset({"http", "https"})
LIVE_SCHEMES = frozenset({"rtsp", "rtsps", "rtmp", "rtmps", "rtp", "srt", "tcp", "udp"})
OPEN_READ_TIMEOUTS_S = (3.0, 3.0)


def open_url(
    url: str,
    *,
    timeouts_s: tuple[float, float] = OPEN_READ_TIMEOUTS_S,
    stall_timeout_s: float = STALL_TIMEOUT_S,
) -> "RecordedSource | LiveSource[av.VideoFrame]":
    """Connect to the stream of a camera or server; the URL may hold user and password.

    Args:
        url: `scheme://[user:password@]host[:port]/path`.
        timeouts_s: to connect, and to read.
        stall_timeout_s: how long to wait for a frame before a live stream counts as broken.

    Raises:
        UsageError: the scheme is not one of `FILE_SCHEMES` or `LIVE_SCHEMES`.
        UnreadableSourceError: no connection, no permission, or no video.
    """
    name, scheme = printable(url), scheme_of(url)
    if scheme not in FILE_SCHEMES | LIVE_SCHEMES:
        known = ", ".join(sorted(FILE_SCHEMES | LIVE_SCHEMES))
        raise UsageError(f"{name}: unknown scheme {scheme}:// (expected one of {known})")
    container = _connect(url, name=name, timeouts_s=timeouts_s)
    if _is_recording(container, scheme):
        return source_of(container, name=name)
    return LiveSource(StreamGrabber(container, url=url), stall_timeout_s=stall_timeout_s)


def _connect(url: str, *, name: str, timeouts_s: tuple[float, float]) -> InputContainer:
    live_only = {"rtsp_transport": "tcp", "fflags": "nobuffer", "flags": "low_delay"}
    options = live_only if scheme_of(url) in LIVE_SCHEMES else {}
    started_s = time.monotonic()
    try:
        return av.open(url, timeout=timeouts_s, options=options)
    except (av.FFmpegError, OSError) as error:
        reason = explain(error)
    if time.monotonic() - started_s >= timeouts_s[0]:  # FFmpeg's rtsp calls it invalid data
        reason = NO_ANSWER
    # Raised outside the handler: the error must not refer to FFmpeg's, which holds the password.
    raise UnreadableSourceError(
        f"{name}: cannot be opened: {reason}; check the address, user, password and network, "
        "and that the camera or server is on"
    )


def _is_recording(container: InputContainer, scheme: str | None) -> bool:
    if scheme not in FILE_SCHEMES:
        return False
    has_length = container.size > 0 and container.format.name != "hls"  # hls: the playlist's size
    return bool(container.duration) or has_length


class StreamGrabber:
    """Reads frames from a connected stream."""

    def __init__(self, container: InputContainer, *, url: str) -> None:
        self.name = printable(url)
        self._container = container
        stream = find_video(container)
        if stream is None:
            container.close()
            raise UnreadableSourceError(f"{self.name}: the stream has no video")
        stream.thread_type = "SLICE"  # each frame thread would delay one frame
        self.fps = rate_of(stream)
        self.size_wh = (stream.width, stream.height) if stream.width else None
        self._packets: Iterator[av.Packet[VideoStream]] = container.demux(stream)
        self._decoder = SoundDecoder()
        self._ready: deque[tuple[av.VideoFrame, int]] = deque()

    def grab(self) -> tuple[av.VideoFrame, int] | None:
        """Wait for a packet; return the next intact frame, or None if the packet completed none."""
        if not self._ready:
            self._ready.extend(self._decoder.decode(self._receive()))
        return self._ready.popleft() if self._ready else None

    def to_image(self, raw: av.VideoFrame) -> UInt8Array:
        """Convert to upright RGB."""
        return to_upright_rgb(raw)

    def close(self) -> None:
        """Disconnect."""
        self._container.close()

    def _receive(self) -> "av.Packet[VideoStream]":
        try:
            packet = next(self._packets, None)
        except (av.FFmpegError, OSError) as error:
            reason = f"the connection was lost: {explain(error)}"
        else:
            if packet is not None:
                return packet
            reason = "the server ended the stream"
        raise SourceError(reason)
