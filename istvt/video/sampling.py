"""Frame numbers and times in, the frames that the model wants out.

Training, evaluation and streaming use this one module, so that a window means the same in all.
"""

from collections import deque
from statistics import median

from istvt.presets import Sampling

GAP_TOLERANCE = 1.5  # of the nominal distance between two sampled frames
REMEMBERED_INTERVALS = 9


class FrameSampler:
    """Chooses frames of one source, and tells when two chosen ones are too far apart."""

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling
        self._period_s = 1.0 / sampling.sample_fps if sampling.sample_fps else 0.0
        self._origin_s: float | None = None
        self._due_s = 0.0
        self._last_s: float | None = None
        self._intervals_s: deque[float] = deque(maxlen=REMEMBERED_INTERVALS)

    def takes(self, index: int, time_s: float) -> bool:
        """Say whether this frame is sampled; call once a frame, in order.

        With `sample_fps` the first frame at a tick of the clock is taken, where a frame counts as
        at the tick from half a frame interval before it: the frame nearest to the tick.

        Args:
            index: the frame's position in the source.
            time_s: its time.
        """
        if self.sampling.frame_step is not None:
            return index % self.sampling.frame_step == 0
        self._note(time_s)
        if self._origin_s is None:
            self._origin_s = self._due_s = time_s
        early_s = time_s + self._interval_s / 2
        if early_s < self._due_s:
            return False
        self._due_s += (int((early_s - self._due_s) / self._period_s) + 1) * self._period_s
        return True

    def is_gap(self, before: tuple[int, float], after: tuple[int, float]) -> bool:
        """Say whether two sampled frames, each `(index, time_s)`, cannot share a window.

        They can where no step, or no tick of the clock, lies between them.
        """
        if self.sampling.frame_step is not None:
            return after[0] - before[0] > GAP_TOLERANCE * self.sampling.frame_step
        ticks = self._tick(after[1]) - self._tick(before[1])
        return ticks > 1 and after[1] - before[1] > GAP_TOLERANCE * self._period_s

    @property
    def _interval_s(self) -> float:
        """The source's usual time between frames, at most a tick of the clock."""
        usual_s = median(self._intervals_s) if self._intervals_s else self._period_s
        return min(usual_s, self._period_s)

    def _tick(self, time_s: float) -> int:
        """The number of the tick that is nearest."""
        return round((time_s - (self._origin_s or 0.0)) / self._period_s)

    def _note(self, time_s: float) -> None:
        if self._last_s is not None and time_s > self._last_s:
            self._intervals_s.append(time_s - self._last_s)
        self._last_s = time_s
