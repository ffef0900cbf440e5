"""Read a camera or stream live, without ever falling behind.

One thread captures every frame as it arrives, and the reader gets the newest one. A slow reader
therefore adds no delay. Frame indexes jump instead, and `frames_dropped` counts the lost frames.
"""

import logging
import time
from dataclasses import dataclass
from threading import Condition, Event, Thread
from typing import Generic, Protocol, TypeVar

from istvt.closing import ClosesOnExit
from istvt.errors import BrokenSourceError, SourceError
from istvt.records import Frame, UInt8Array

Item = TypeVar("Item")


class LatestFrame(Generic[Item]):
    """Holds at most one item; a newer one replaces it.

    Attributes:
        dropped: number of items replaced before anyone took them.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._changed = Condition()
        self._item: Item | None = None
        self._failure: Exception | None = None

    def put(self, item: Item) -> None:
        """Offer the newest item."""
        with self._changed:
            self.dropped += self._item is not None
            self._item = item
            self._changed.notify_all()

    def fail(self, error: Exception) -> None:
        """Announce that no further item will come; the waiting one can still be taken."""
        with self._changed:
            self._failure = error
            self._changed.notify_all()

    def take(self, *, timeout_s: float) -> Item:
        """Wait for an item and remove it.

        Raises:
            TimeoutError: no item came in time.
            Exception: the one passed to `fail`.
        """
        with self._changed:
            arrived = self._changed.wait_for(self._has_news, timeout_s)
            if self._item is not None:
                item, self._item = self._item, None
                return item
            if not arrived or self._failure is None:
                raise TimeoutError
            raise self._failure

    def _has_news(self) -> bool:
        return self._item is not None or self._failure is not None


logger = logging.getLogger(__name__)

STALL_TIMEOUT_S = 5.0
WITHHELD_TIMEOUT_S = 30.0  # nearly all cameras send a key frame every 1 to 10 s
CLOSE_TIMEOUT_S = 4.0

Raw = TypeVar("Raw")


class Grabber(Protocol[Raw]):
    """The interface of cameras and streams; all but `to_image` runs in the capture thread."""

    name: str
    fps: float | None
    size_wh: tuple[int, int] | None

    def grab(self) -> tuple[Raw, int] | None:
        """Wait for the next frame.

        Returns:
            The frame, and how many were lost directly before it; None if data came but no intact
            frame yet.

        Raises:
            SourceError: no more frames will come.
        """

    def to_image(self, raw: Raw) -> UInt8Array:
        """Convert to `(H, W, 3)` RGB, upright; called only for frames that are read."""

    def close(self) -> None:
        """Release the device or connection."""


@dataclass(frozen=True)
class _Shot(Generic[Raw]):
    raw: Raw
    index: int
    time_s: float
    captured_at: float


class LiveSource(ClosesOnExit, Generic[Raw]):
    """A camera or a stream; iteration ends only by `close` or an error.

    Attributes:
        frames_read: number of frames passed to the reader.
        frames_declared: None, because a live source has no end.
    """

    is_live = True
    frames_declared: int | None = None

    def __init__(
        self,
        grabber: Grabber[Raw],
        *,
        stall_timeout_s: float = STALL_TIMEOUT_S,
        withheld_timeout_s: float = WITHHELD_TIMEOUT_S,
    ) -> None:
        self.name = grabber.name
        self.fps = grabber.fps
        self.size_wh = grabber.size_wh
        self.frames_read = 0
        self._last_shape: tuple[int, ...] | None = None
        self._grabber = grabber
        self._stall_timeout_s = stall_timeout_s
        self._withheld_timeout_s = withheld_timeout_s
        self._slot: LatestFrame[_Shot[Raw]] = LatestFrame()
        self._closing = Event()
        self._opened_s = self._alive_s = time.monotonic()
        self._thread = Thread(target=self._capture, name=f"capture {self.name}", daemon=True)
        self._thread.start()

    @property
    def frames_dropped(self) -> int:
        """Number of captured frames that a newer one replaced before they were read."""
        return self._slot.dropped

    def __iter__(self) -> "LiveSource[Raw]":
        return self

    def __next__(self) -> Frame:
        """Wait for a frame newer than the last one.

        Raises:
            BrokenSourceError: the source ended, was unplugged, or delivered nothing for too long.
        """
        if self._closing.is_set():
            raise StopIteration
        try:
            shot = self._wait()
        except SourceError as error:
            raise self._broken(str(error)) from None
        self.frames_read += 1
        image = self._grabber.to_image(shot.raw)
        last_shape, self._last_shape = self._last_shape, image.shape
        return Frame(
            image,
            index=shot.index,
            time_s=shot.time_s,
            source=self.name,
            captured_at=shot.captured_at,
            starts_anew=last_shape not in (None, image.shape),
        )

    def close(self) -> None:
        """Stop capturing, and stop waiting for a frame."""
        self._closing.set()
        self._thread.join(CLOSE_TIMEOUT_S)
        if self._thread.is_alive():
            logger.warning(
                "%s: still waiting for a frame; the source closes when one arrives", self.name
            )

    def _wait(self) -> _Shot[Raw]:
        """Wait for a frame while the source shows signs of life."""
        began_s = time.monotonic()
        while True:
            stalls_s = max(began_s, self._alive_s) + self._stall_timeout_s
            gives_up_s = min(stalls_s, began_s + self._withheld_timeout_s)
            try:
                return self._slot.take(timeout_s=max(0.0, gives_up_s - time.monotonic()))
            except TimeoutError:
                self._check_patience(began_s)

    def _check_patience(self, began_s: float) -> None:
        now_s = time.monotonic()
        if now_s >= max(began_s, self._alive_s) + self._stall_timeout_s:
            raise SourceError(f"no frame for {self._stall_timeout_s:g} s")
        if now_s >= began_s + self._withheld_timeout_s:
            raise SourceError(
                f"data arrives, but no intact frame for {self._withheld_timeout_s:g} s; after "
                "damage, frames are withheld until a key frame: set the camera to send key frames "
                "more often (GOP or I-frame interval)"
            )

    def _capture(self) -> None:
        index = -1
        try:
            while not self._closing.is_set():
                grabbed = self._grabber.grab()
                self._alive_s = time.monotonic()
                if grabbed is None:
                    continue
                raw, lost = grabbed
                index += 1 + lost
                self._slot.put(_Shot(raw, index, self._alive_s - self._opened_s, time.time()))
        except Exception as error:  # noqa: BLE001 re-raised in the reader's thread
            self._slot.fail(error)
        finally:
            self._grabber.close()

    def _broken(self, reason: str) -> BrokenSourceError:
        return BrokenSourceError(
            f"{self.name}: the live source stopped after {self.frames_read} frames: {reason}; "
            "check its cable, power and network, then start again",
            frames_read=self.frames_read,
            frames_declared=None,
        )
