"""Decide how often to search the whole image for faces."""

from math import ceil

MOST_UPDATES = 12  # a new face is found within half a second at 25 frames per second
MEMORY = 0.2  # weight of the newest time in the running means


class FixedCadence:
    """Search at every k-th update; repeatable, for files."""

    def __init__(self, every: int) -> None:
        self.every = every

    def note(self, *, searched: bool, spent_s: float, period_s: float | None) -> None:
        """Ignore the times."""


class AdaptiveCadence:
    """Search as often as the machine sustains, for live sources.

    Args:
        share: fraction of the time between two frames that face detection may take. The model
            takes the rest.
    """

    def __init__(self, *, share: float = 0.4) -> None:
        self.every = 1
        self._share = share
        self._search_s: float | None = None
        self._follow_s = 0.0
        self._period_s: float | None = None

    def note(self, *, searched: bool, spent_s: float, period_s: float | None) -> None:
        """Learn from one update.

        Args:
            searched: whether this update searched the whole image.
            spent_s: how long it took.
            period_s: time since the previous frame; None at the first.
        """
        if searched:
            self._search_s = _mean(self._search_s, spent_s)
        else:
            self._follow_s = _mean(self._follow_s, spent_s)
        if period_s is not None and period_s > 0:
            self._period_s = _mean(self._period_s, period_s)
        if self._search_s is not None and self._period_s is not None:
            spare_s = self._share * self._period_s - self._follow_s
            extra_s = self._search_s - self._follow_s
            needed = MOST_UPDATES if spare_s <= 0 else ceil(extra_s / spare_s)
            self.every = min(max(needed, 1), MOST_UPDATES)


def _mean(before: float | None, newest: float) -> float:
    return newest if before is None else before + MEMORY * (newest - before)
