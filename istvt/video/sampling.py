"""Choose the frames that the model sees, by their numbers and times.

Training, evaluation and streaming all use this module, so that a window means the same in each.
"""

from collections import deque
from statistics import median, median_low

from istvt.presets import Sampling

GAP_TOLERANCE = 1.5  # of the nominal distance between two sampled frames
# A hole in time that frame numbers do not show: a paused recording, a stalled stream. Shorter ones
# are jitter of a variable frame rate.
HOLE_TOLERANCE = 4.0
LEAST_HOLE_S = 0.5
REMEMBERED_INTERVALS = 9


class FrameSampler:
    """Chooses frames of one source, and detects when two chosen ones are too far apart."""

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling
        self._period_s = 1.0 / sampling.sample_fps if sampling.sample_fps else 0.0
        self._origin_s: float | None = None
        self._due_s = 0.0
        self._last: tuple[int, float] | None = None
        self._last_taken: int | None = None
        self._advances: deque[tuple[int, float]] = deque(maxlen=REMEMBERED_INTERVALS)

    def takes(self, index: int, time_s: float) -> bool:
        """Check whether to sample this frame; call it once per frame, in order.

        `frame_step` takes the first frame, then the first one at least a step after the last one
        taken. A live source may lack the exact frame.

        `sample_fps` takes the frame nearest to each tick of the clock. A frame belongs to a tick
        from half a frame interval before it.

        Args:
            index: the frame's position in the source.
            time_s: the frame's time.
        """
        self._note(index, time_s)
        if self.sampling.frame_step is not None:
            return self._takes_step(index, self.sampling.frame_step)
        return self._takes_tick(time_s)

    def _takes_step(self, index: int, step: int) -> bool:
        if self._last_taken is not None and index < self._last_taken + step:
            return False
        self._last_taken = index
        return True

    def _takes_tick(self, time_s: float) -> bool:
        if self._origin_s is None:
            self._origin_s = self._due_s = time_s
        early_s = time_s + self._interval_s / 2
        if early_s < self._due_s:
            return False
        self._due_s += (int((early_s - self._due_s) / self._period_s) + 1) * self._period_s
        return True

    def is_gap(self, before: tuple[int, float], after: tuple[int, float]) -> bool:
        """Check whether two sampled frames, each `(index, time_s)`, are too far apart for a window.

        They share a window if no step or tick, and no hole in time, lies between them.
        """
        apart_s = after[1] - before[1]
        if self.sampling.frame_step is not None:
            is_far = after[0] - before[0] > GAP_TOLERANCE * self.sampling.frame_step
            return is_far or apart_s > self._longest_step_s(self.sampling.frame_step)
        ticks = self._tick(after[1]) - self._tick(before[1])
        return ticks > 1 and apart_s > GAP_TOLERANCE * self._period_s

    def _longest_step_s(self, step: int) -> float:
        """Return the longest time a step may take, counting frames whether read or not."""
        native_s = [seconds / frames for frames, seconds in self._advances]
        usual_s = median_low(native_s) if native_s else 0.0
        return max(HOLE_TOLERANCE * step * usual_s, LEAST_HOLE_S)

    @property
    def _interval_s(self) -> float:
        """The usual time between the frames read, at most one tick of the clock."""
        seconds = [seconds for _, seconds in self._advances]
        usual_s = median(seconds) if seconds else self._period_s
        return min(usual_s, self._period_s)

    def _tick(self, time_s: float) -> int:
        """Return the number of the nearest tick."""
        return round((time_s - (self._origin_s or 0.0)) / self._period_s)

    def _note(self, index: int, time_s: float) -> None:
        if self._last is not None and index > self._last[0] and time_s > self._last[1]:
            self._advances.append((index - self._last[0], time_s - self._last[1]))
        self._last = (index, time_s)
