"""Addresses, against a server on this machine: what is live, what breaks, what is never printed."""

import base64
import logging
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import av
import cv2
import numpy as np
import pytest

from istvt.errors import (
    BrokenSourceError,
    IstvtError,
    SourceNotFoundError,
    UnreadableSourceError,
    UsageError,
)
from istvt.video.address import printable
from istvt.video.network import StreamGrabber, open_url
from istvt.video.source import open_source

USER, PASSWORD = "ann", "ge/h:e@im"
QUOTED = "ge%2Fh%3Ae%40im"
TIMEOUTS_S = (1.0, 1.0)


class Server(ThreadingHTTPServer):
    """Serves one file; the path's first part says how."""

    daemon_threads = True
    content = b""
    picture: np.ndarray
    stop = Event()

    def url(self, how: str, *, password: str = QUOTED) -> str:
        return f"http://{USER}:{password}@127.0.0.1:{self.server_port}/{how}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {token}":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.end_headers()
            return
        with suppress(BrokenPipeError, ConnectionResetError):
            getattr(self, "answer_" + self.path[1:].partition("?")[0])()

    def _begin(self, length: int | None, kind: str = "video/mp2t") -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def answer_file(self) -> None:
        self._begin(len(self.server.content))
        self.wfile.write(self.server.content)

    def answer_short(self) -> None:
        self._begin(len(self.server.content))
        self.wfile.write(self.server.content[: len(self.server.content) // 2])

    def answer_missing(self) -> None:
        self.send_error(404)

    def answer_text(self) -> None:
        self._begin(6, "text/plain")
        self.wfile.write(b"hello\n")

    def answer_live(self) -> None:
        self._begin(None)
        for at in range(0, len(self.server.content), 1880):
            self.wfile.write(self.server.content[at : at + 1880])
            time.sleep(0.01)

    def answer_stall(self) -> None:
        self._begin(None)
        self.wfile.write(self.server.content)
        self.wfile.flush()
        self.server.stop.wait(5.0)

    def answer_mjpeg(self) -> None:
        self._begin(None, "multipart/x-mixed-replace; boundary=cut")
        for number in range(40):
            _, jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), number * 6, np.uint8))
            head = f"--cut\r\nContent-Type: image/jpeg\r\nContent-Length: {jpeg.size}\r\n\r\n"
            self.wfile.write(head.encode() + jpeg.tobytes() + b"\r\n")
            time.sleep(0.01)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.stop.clear()
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.stop.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def stream(clip: Callable[..., Path]) -> bytes:
    coding = {"g": "10", "bf": "0"}
    return clip("a.ts", count=25, noise=True, options=coding).read_bytes()


def test_a_file_behind_http_is_a_recording(
    server: Server, clip: Callable[..., Path], number_of: Callable[..., int]
) -> None:
    server.content = clip("a.mp4").read_bytes()
    with open_source(server.url("file")) as source:
        assert (source.is_live, source.frames_declared, source.fps) == (False, 20, 25.0)
        assert source.name == f"http://127.0.0.1:{server.server_port}/file"
        assert [number_of(frame.image) for frame in source] == list(range(20))


def test_a_file_without_a_declared_duration_is_a_recording_too(
    server: Server, stream: bytes, number_of: Callable[..., int]
) -> None:
    server.content = stream
    with open_url(server.url("file")) as source:
        assert not source.is_live
        assert [number_of(frame.image) for frame in source] == list(range(25))


def test_a_shortened_recording_is_broken(server: Server, clip: Callable[..., Path]) -> None:
    server.content = clip("a.mp4", noise=True, container_options={"movflags": "faststart"})
    server.content = server.content.read_bytes()
    with open_url(server.url("short")) as source, pytest.raises(BrokenSourceError) as caught:
        list(source)
    assert 0 < caught.value.frames_read < 20
    assert_no_secret(caught)


def test_a_stream_is_live_and_its_end_is_a_break(
    server: Server, stream: bytes, number_of: Callable[..., int]
) -> None:
    server.content = stream
    numbers: dict[int, int] = {}
    with open_url(server.url("live")) as source, pytest.raises(BrokenSourceError) as caught:
        numbers.update((frame.index, number_of(frame.image)) for frame in source)
    assert (source.is_live, source.frames_declared) == (True, None)
    assert numbers
    assert all(index == number for index, number in numbers.items())
    assert caught.value.frames_read == source.frames_read == len(numbers)
    assert source.frames_read + source.frames_dropped == 25
    assert_no_secret(caught)


def test_a_damaged_packet_is_a_sign_of_life(clip: Callable[..., Path]) -> None:
    path = clip("a.mkv", noise=True, options={"g": "15", "bf": "0", "sc_threshold": "0"})
    with av.open(str(path)) as container:
        victim = [packet.pos for packet in container.demux(video=0)][5]
    content = bytearray(path.read_bytes())
    content[victim + 20 : victim + 300] = bytes(280)
    path.write_bytes(content)
    grabber = StreamGrabber(av.open(str(path)), url="rtsp://cam/a")
    grabbed = [grabber.grab() for _ in range(18)]
    grabber.close()
    at = [picture[0].pts // 40 for picture in grabbed if picture is not None]
    assert at[-1] >= 15
    assert not set(at) & set(range(6, 15))
    assert grabbed.count(None) >= 9


def test_a_camera_that_sends_jpegs_is_live(server: Server) -> None:
    with open_url(server.url("mjpeg")) as source:
        frame = next(iter(source))
        assert source.is_live
        assert frame.image.shape == (48, 64, 3)


def test_a_stalled_stream_breaks_after_the_read_timeout(server: Server, stream: bytes) -> None:
    server.content = stream
    started_s = time.monotonic()
    with (
        open_url(server.url("stall"), timeouts_s=TIMEOUTS_S) as source,
        pytest.raises(BrokenSourceError, match="no answer in time") as caught,
    ):
        list(source)
    assert time.monotonic() - started_s < 3.5
    assert source.frames_read > 0
    assert_no_secret(caught)


@pytest.mark.parametrize(
    ("how", "password", "message"),
    [
        ("file", "wrong", "wrong or missing user and password"),
        ("missing?token=geheim77", QUOTED, "404"),
        ("text", QUOTED, "not video data"),
    ],
)
def test_what_cannot_be_opened_says_why(
    server: Server, how: str, password: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(UnreadableSourceError, match=message) as caught:
        open_url(server.url(how, password=password))
    assert_no_secret(caught)
    assert password not in caplog.text
    assert f":{password}" not in str(caught.value)


def test_a_silent_server_is_given_up_in_time() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"rtsp://{USER}:{QUOTED}@127.0.0.1:{silent.getsockname()[1]}/x"
        started_s = time.monotonic()
        with pytest.raises(UnreadableSourceError, match="no answer in time") as caught:
            open_url(url, timeouts_s=TIMEOUTS_S)
        assert time.monotonic() - started_s < 2.5
    assert_no_secret(caught)


def test_nobody_there() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(UnreadableSourceError, match="connection was refused") as caught:
        open_url(f"rtsp://{USER}:{QUOTED}@127.0.0.1:{port}/x")
    assert_no_secret(caught)


def test_an_unknown_scheme_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="gopher://") as caught:
        open_source(f"gopher://{USER}:{QUOTED}@host/x")
    assert_no_secret(caught)


def assert_no_secret(caught: pytest.ExceptionInfo[IstvtError]) -> None:
    """Neither the message nor the printed chain of causes may hold the password."""
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value.__context__)
    assert not [secret for secret in (QUOTED, PASSWORD, "geheim77") if secret in told]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://ann:pw@cam:554/a?channel=2", "rtsp://cam:554/a?channel=2"),
        ("RTSP://ann@cam/a", "rtsp://cam/a"),
        ("rtsp://ann:p@w@cam/a", "rtsp://cam/a"),
        ("rtsp://ann:p/w@cam/a", "rtsp://cam/a"),
        ("rtsp://ann:p?w@cam/a", "rtsp://cam/a"),
        ("http://cam/a?user=ann&pwd=x&n=1", "http://cam/a?user=...&pwd=...&n=1"),
        ("http://cam:80/@ann/a", "http://cam:80/@ann/a"),
        ("http://[::1]:80/a", "http://[::1]:80/a"),
        ("udp://@239.0.0.1:1234", "udp://@239.0.0.1:1234"),
        ("rtsp://admin:2024#cam@10.0.0.5/live", "rtsp://10.0.0.5/live"),
        ("rtsp://admin:123/4@10.0.0.5/live", "rtsp://10.0.0.5/live"),
        ("rtsp://a@admin:12/3@10.0.0.5/live", "rtsp://10.0.0.5/live"),
        (" rtsp://ann:geheim@cam/a\n", "rtsp://cam/a"),
        ("rtsp:/ann:geheim@cam/a", "rtsp://cam/a"),
        (
            "http://cam/a?access_token=x&loginuse=y&loginpas=z#1&n=1",
            "http://cam/a?access_token=...&loginuse=...&loginpas=...&n=1",
        ),
        ("http://cam/a?channel=2#start", "http://cam/a?channel=2#start"),
        ("clip.mp4", "clip.mp4"),
        ("C:/clips/a@b.mp4", "C:/clips/a@b.mp4"),
    ],
)
def test_only_what_is_no_secret_is_printed(url: str, shown: str) -> None:
    assert printable(url) == shown


@pytest.mark.parametrize("spec", [f"  rtsp://{USER}:geheim77@", f"rtsp:/{USER}:geheim77@"])
def test_a_url_with_a_slip_is_a_url_still(spec: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(UnreadableSourceError, match="connection was refused") as caught:
        open_source(f"{spec}127.0.0.1:{port}/x")
    assert_no_secret(caught)


@pytest.mark.parametrize("password", ["geheim77", "1/geheim77", "1#geheim77"])
def test_a_url_that_became_a_path_shows_no_password(password: str) -> None:
    with pytest.raises(SourceNotFoundError, match="there is no rtsp://cam/x;") as caught:
        open_source(Path(f"rtsp://{USER}:{password}@cam/x"))
    assert_no_secret(caught)
