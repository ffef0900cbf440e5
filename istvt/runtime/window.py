"""Collect a track's sampled crops or features into sliding windows that span no gap."""

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from istvt.records import Window

Item = TypeVar("Item")


class WindowBuffer(Generic[Item]):
    """Keeps a track's last T items and forgets them at every gap; `gaps` counts the gaps.

    Args:
        num_frames: T.
        is_gap: called with two positions `(index, time_s)`; returns True if they cannot share a
            window. Usually `FrameSampler.is_gap`.
    """

    def __init__(
        self,
        track_id: int,
        num_frames: int,
        *,
        is_gap: Callable[[tuple[int, float], tuple[int, float]], bool],
    ) -> None:
        self.track_id = track_id
        self._num_frames = num_frames
        self._is_gap = is_gap
        self._items: deque[tuple[Item, int, float]] = deque(maxlen=num_frames)
        self.gaps = 0

    def push(self, item: Item, *, index: int, time_s: float) -> Window[Item] | None:
        """Add one sampled frame's item.

        Returns:
            The window that ends at this item, or None while fewer than T items follow a gap.
        """
        if self._items and self._is_gap(self._items[-1][1:], (index, time_s)):
            self._items.clear()
            self.gaps += 1
        self._items.append((item, index, time_s))
        if len(self._items) < self._num_frames:
            return None
        items, _, times_s = zip(*self._items, strict=True)
        return Window(track_id=self.track_id, items=items, times_s=times_s)

    def __len__(self) -> int:
        """Return the number of items since the last gap, at most T."""
        return len(self._items)
