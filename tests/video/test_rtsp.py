"""A real RTSP server, where GStreamer's is installed: open, read, fall behind, lose it."""

import shutil
import subprocess
import time
from collections.abc import Iterator

import numpy as np
import pytest

from istvt.errors import BrokenSourceError, UnreadableSourceError
from istvt.video.source import open_source

SERVER = """
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer as Rtsp
Gst.init(None)
token = Rtsp.RTSPToken()
token.set_string("media.factory.role", "viewer")
auth = Rtsp.RTSPAuth()
auth.add_basic(Rtsp.RTSPAuth.make_basic("ann", "ge:heim"), token)
allowed = Rtsp.RTSPPermissions()
for right in ("access", "construct"):
    allowed.add_permission_for_role("viewer", "media.factory." + right, True)
factory = Rtsp.RTSPMediaFactory()
factory.set_permissions(allowed)
factory.set_launch(
    "( videotestsrc is-live=true ! video/x-raw,width=160,height=120,framerate=25/1"
    " ! x264enc tune=zerolatency key-int-max=10 ! rtph264pay name=pay0 )"
)
server = Rtsp.RTSPServer()
server.set_address("127.0.0.1")
server.set_service("0")
server.set_auth(auth)
server.get_mount_points().add_factory("/camera", factory)
server.attach(None)
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
"""


@pytest.fixture
def server() -> Iterator[tuple[int, "subprocess.Popen[str]"]]:
    """Serve `/camera` to ann from a process that has GStreamer's Python, the system's one."""
    python = shutil.which("python3", path="/usr/bin") or "python3"
    with subprocess.Popen(
        [python, "-c", SERVER], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        port = process.stdout.readline().strip()
        try:
            if not port:
                pytest.skip("no gir1.2-gst-rtsp-server-1.0 with python3-gi on this machine")
            yield int(port), process
        finally:
            process.kill()


def test_a_camera_behind_rtsp(server: tuple[int, "subprocess.Popen[str]"]) -> None:
    port, process = server
    with pytest.raises(UnreadableSourceError, match="access was refused") as caught:
        open_source(f"rtsp://ann:falsch@127.0.0.1:{port}/camera")
    assert "falsch" not in str(caught.value)

    with open_source(f"rtsp://ann:ge%3Aheim@127.0.0.1:{port}/camera") as source:
        assert (source.name, source.is_live) == (f"rtsp://127.0.0.1:{port}/camera", True)
        assert source.size_wh == (160, 120)
        frames = []
        for frame in source:
            frames.append(frame)
            if len(frames) == 5:
                break
            time.sleep(0.2)
        assert frames[0].image.shape == (120, 160, 3)
        rate = np.diff([f.index for f in frames[1:]]) / np.diff([f.time_s for f in frames[1:]])
        assert rate.mean() == pytest.approx(25, rel=0.2), "a slow reader falls behind"
        assert source.frames_dropped > 8

        process.kill()
        with pytest.raises(BrokenSourceError) as broken:
            list(source)
        assert "heim" not in str(broken.value)
