"""One slot between a thread that captures and one that is slower: the newest item wins."""

from threading import Condition
from typing import Generic, TypeVar

Item = TypeVar("Item")


class LatestFrame(Generic[Item]):
    """Holds at most one item; a newer one replaces it.

    Attributes:
        dropped: items that were replaced before anyone took them.
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
        """Say that no further item will come; the waiting one can still be taken."""
        with self._changed:
            self._failure = error
            self._changed.notify_all()

    def take(self, *, timeout_s: float) -> Item:
        """Wait for an item and remove it.

        Raises:
            TimeoutError: none came in time.
            Exception: the one given to `fail`.
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
