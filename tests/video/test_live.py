"""Live sources, with a fake camera: the newest picture wins and the delay does not grow."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread

import cv2
import numpy as np
import pytest

from istvt.errors import (
    BrokenSourceError,
    SourceNotFoundError,
    UnreadableSourceError,
    UsageError,
)
from istvt.video import camera as camera_module
from istvt.video.camera import list_cameras, open_camera
from istvt.video.live import LatestFrame, LiveSource

PERIOD_S = 0.01


class FakeCapture:
    """A camera whose pictures hold their number, in blue (BGR) so that a swap shows."""

    def __init__(self, *, count: int | None = None, opens: bool = True) -> None:
        self.opens = opens
        self.count = count
        self.number = -1
        self.wishes: dict[int, float] = {}
        self.released = Event()
        self.hangs = Event()

    def isOpened(self) -> bool:
        return self.opens

    def read(self) -> tuple[bool, np.ndarray | None]:
        assert not self.released.is_set(), "read after release"
        time.sleep(PERIOD_S)
        while self.hangs.is_set() and not self.released.is_set():
            time.sleep(PERIOD_S)
        if self.count is not None and self.number + 1 >= self.count:
            return False, None
        self.number += 1
        image = np.zeros((4, 6, 3), np.uint8)
        image[..., 0] = self.number % 256
        return True, image

    def get(self, prop: int) -> float:
        return 200.0 if prop == cv2.CAP_PROP_FPS else 0.0

    def set(self, prop: int, value: float) -> bool:
        self.wishes[prop] = value
        return True

    def release(self) -> None:
        self.released.set()


@pytest.fixture
def capture() -> Iterator[FakeCapture]:
    fake = FakeCapture()
    yield fake
    fake.hangs.clear()
    assert fake.released.wait(1.0), "the device was not given back"


def test_a_slow_reader_gets_the_newest_picture(capture: FakeCapture) -> None:
    lags, frames = [], []
    with open_camera(0, opener=lambda _: capture) as source:
        for frame in source:
            lags.append(capture.number - int(frame.image[0, 0, 2]))
            frames.append(frame)
            if len(frames) == 12:
                break
            time.sleep(8 * PERIOD_S)
        assert source.frames_read == 12
    indexes = [frame.index for frame in frames]
    assert max(lags) <= 5, "the reader fell behind"  # with a queue: 7 more at each read
    assert np.median(np.diff(indexes[1:])) >= 4, "dropped pictures must show as jumps of the index"
    assert all(np.diff([frame.time_s for frame in frames]) > 0)
    assert source.frames_dropped >= indexes[-1] + 1 - 12
    # the first picture of all only shows the camera's size, so picture k has index k - 1
    assert [int(frame.image[0, 0, 2]) for frame in frames] == [index + 1 for index in indexes]


def test_a_fast_reader_misses_nothing(capture: FakeCapture) -> None:
    with open_camera(0, opener=lambda _: capture) as source:
        indexes = [frame.index for frame, _ in zip(source, range(10), strict=False)]
        assert source.is_live
        assert (source.name, source.fps, source.size_wh) == ("camera 0", 200.0, (6, 4))
    assert indexes[-1] - indexes[0] <= 10


def test_times_are_those_of_capture_not_of_reading(capture: FakeCapture) -> None:
    with open_camera(0, opener=lambda _: capture) as source:
        before_s = time.monotonic()
        next(iter(source))
        time.sleep(0.1)
        frame = next(iter(source))
        assert frame.time_s <= time.monotonic() - before_s + 0.05
        assert frame.time_s > 0.05


class OneByOne:
    """A stream that gives a picture only once the last one has been read."""

    name, fps, size_wh = "stream", None, None

    def __init__(self, sizes: list[tuple[int, int]]) -> None:
        self.sizes = iter(sizes)
        self.may_grab = Event()
        self.may_grab.set()

    def grab(self) -> tuple[tuple[int, int], int] | None:
        if not self.may_grab.wait(PERIOD_S):
            return None
        self.may_grab.clear()
        size = next(self.sizes, None)
        return None if size is None else (size, 0)

    def to_image(self, raw: tuple[int, int]) -> np.ndarray:
        return np.zeros((*raw, 3), np.uint8)

    def close(self) -> None: ...


def test_frames_carry_the_wall_clock_of_their_capture() -> None:
    grabber = OneByOne([(4, 6), (4, 6)])
    opened_at = time.time()
    with LiveSource(grabber) as source:
        while not source._slot._has_news():
            time.sleep(PERIOD_S)
        waits_since = time.time()
        time.sleep(2 * PERIOD_S)
        first = next(source)
        read_at = time.time()
        grabber.may_grab.set()
        second = next(source)
    assert first.captured_at is not None
    assert second.captured_at is not None
    assert opened_at <= first.captured_at <= waits_since, "of its capture, not of its reading"
    assert read_at <= second.captured_at <= time.time()


def test_a_new_size_starts_anew() -> None:
    sizes = [(4, 6), (4, 6), (8, 6), (8, 6), (4, 6), (4, 6)]
    grabber, frames = OneByOne(sizes), []
    with LiveSource(grabber) as source:
        for _ in sizes:
            frames.append(next(source))
            grabber.may_grab.set()
    assert [frame.image.shape[:2] for frame in frames] == sizes
    assert [frame.starts_anew for frame in frames] == [False, False, True, False, True, False]


def test_wishes_reach_the_camera(capture: FakeCapture) -> None:
    open_camera(0, size_wh=(1280, 720), fps=30, opener=lambda _: capture).close()
    assert capture.wishes[cv2.CAP_PROP_FRAME_WIDTH] == 1280
    assert capture.wishes[cv2.CAP_PROP_FRAME_HEIGHT] == 720
    assert capture.wishes[cv2.CAP_PROP_FPS] == 30
    assert capture.wishes[cv2.CAP_PROP_BUFFERSIZE] == 1


def test_an_unplugged_camera_is_a_broken_source(capture: FakeCapture) -> None:
    capture.count = 20
    indexes: list[int] = []
    with (
        open_camera(0, opener=lambda _: capture) as source,
        pytest.raises(BrokenSourceError, match="unplugged") as caught,
    ):
        indexes.extend(frame.index for frame in source)
    assert indexes[-1] == 18, "the last picture is given before the error"
    assert caught.value.frames_read == len(indexes)
    assert caught.value.frames_declared is None


def test_a_stalled_camera_is_a_broken_source(capture: FakeCapture) -> None:
    with open_camera(0, opener=lambda _: capture, stall_timeout_s=0.2) as source:
        frames = iter(source)
        next(frames)
        capture.hangs.set()
        started_s = time.monotonic()
        with pytest.raises(BrokenSourceError, match=r"no frame for 0\.2 s"):
            list(frames)
        assert time.monotonic() - started_s < 0.5
        capture.hangs.clear()


class Withholding:
    """A stream whose packets come, but which gives no picture for the first `packets` of them."""

    name, fps, size_wh = "stream", None, None

    def __init__(self, packets: int) -> None:
        self.packets = packets

    def grab(self) -> tuple[int, int] | None:
        time.sleep(PERIOD_S)
        self.packets -= 1
        return None if self.packets >= 0 else (7, 0)

    def to_image(self, raw: int) -> np.ndarray:
        return np.full((4, 6, 3), raw, np.uint8)

    def close(self) -> None: ...


def test_a_stream_that_awaits_a_key_frame_is_not_stalled() -> None:
    with LiveSource(Withholding(30), stall_timeout_s=0.1) as source:
        assert next(source).index == 0


def test_a_key_frame_is_not_awaited_for_ever() -> None:
    with (
        LiveSource(Withholding(10**6), stall_timeout_s=0.1, withheld_timeout_s=0.3) as source,
        pytest.raises(BrokenSourceError, match=r"no intact frame for 0\.3 s.*key frame"),
    ):
        next(source)


def test_a_bug_in_the_capturing_thread_reaches_the_reader(capture: FakeCapture) -> None:
    with open_camera(0, opener=lambda _: capture) as source:
        capture.read = lambda: 1 / 0  # type: ignore[method-assign, assignment]
        with pytest.raises(ZeroDivisionError):
            list(source)


def test_a_closed_source_ends(capture: FakeCapture) -> None:
    source = open_camera(0, opener=lambda _: capture)
    source.close()
    source.close()
    assert list(source) == []


@pytest.mark.parametrize("fake", [FakeCapture(opens=False), FakeCapture(count=0)])
def test_a_camera_that_gives_nothing_is_released(fake: FakeCapture) -> None:
    with pytest.raises(UnreadableSourceError, match="camera 3"):
        open_camera(3, opener=lambda _: fake)
    assert fake.released.is_set()


def test_a_negative_index_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="-1"):
        open_camera(-1)


def test_a_missing_camera_is_told_without_noise(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(camera_module.sys, "platform", "linux")
    with pytest.raises(SourceNotFoundError, match="/dev/video987"):
        open_camera(987)
    assert capfd.readouterr().err == ""


def test_the_cameras_there_are_get_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    devices, names = tmp_path / "dev", tmp_path / "names"
    for node, name in (("video10", "HD Cam\n"), ("video2", None)):
        (names / node).mkdir(parents=True)
        devices.mkdir(exist_ok=True)
        (devices / node).touch()
        if name:
            (names / node / "name").write_text(name)
    (devices / "video-other").touch()
    found = list_cameras(devices, names)
    assert [(camera.index, camera.name) for camera in found] == [(2, "unnamed"), (10, "HD Cam")]

    monkeypatch.setattr(camera_module.sys, "platform", "linux")
    monkeypatch.setattr(camera_module, "list_cameras", lambda: found)
    with pytest.raises(SourceNotFoundError, match=r"2 \(unnamed\), 10 \(HD Cam\)"):
        open_camera(987)
    monkeypatch.setattr(camera_module, "list_cameras", list)
    with pytest.raises(SourceNotFoundError, match="No camera was found"):
        open_camera(987)


def test_the_slot_keeps_the_newest_and_counts_the_rest() -> None:
    slot: LatestFrame[int] = LatestFrame()
    for number in range(5):
        slot.put(number)
    assert (slot.take(timeout_s=0), slot.dropped) == (4, 4)
    with pytest.raises(TimeoutError):
        slot.take(timeout_s=0.01)


def test_the_slot_gives_what_it_holds_before_it_fails() -> None:
    slot: LatestFrame[int] = LatestFrame()
    slot.put(1)
    slot.fail(ValueError("over"))
    assert slot.take(timeout_s=0) == 1
    for _ in range(2):
        with pytest.raises(ValueError, match="over"):
            slot.take(timeout_s=0)


def test_the_slot_wakes_a_waiting_reader() -> None:
    slot: LatestFrame[int] = LatestFrame()
    put: Callable[[], None] = lambda: (time.sleep(0.05), slot.put(7))[1]  # noqa: E731
    Thread(target=put).start()
    assert slot.take(timeout_s=2.0) == 7
