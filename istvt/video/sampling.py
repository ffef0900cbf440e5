"""Frame numbers and times in, the frames that the model wants out.

Training, evaluation and streaming use this one module, so that a window means the same in all.
"""

from istvt.presets import Sampling

GAP_TOLERANCE = 1.5  # of the nominal distance between two sampled frames


class FrameSampler:
    """Chooses frames of one source, and tells when two chosen ones are too far apart."""

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling
        self._next_due_s: float | None = None

    def takes(self, index: int, time_s: float) -> bool:
        """Say whether this frame is sampled; call once a frame, in order.

        Args:
            index: the frame's position in the source.
            time_s: its time.
        """
        if self.sampling.frame_step is not None:
            return index % self.sampling.frame_step == 0
        period_s = 1.0 / (self.sampling.sample_fps or 1.0)
        if self._next_due_s is None:
            self._next_due_s = time_s
        if time_s < self._next_due_s - 1e-9:
            return False
        late_ticks = int((time_s - self._next_due_s) / period_s + 1e-9)
        self._next_due_s += (late_ticks + 1) * period_s
        return True

    def is_gap(self, before: tuple[int, float], after: tuple[int, float]) -> bool:
        """Say whether two sampled frames, each `(index, time_s)`, cannot share a window."""
        if self.sampling.frame_step is not None:
            return after[0] - before[0] > GAP_TOLERANCE * self.sampling.frame_step
        period_s = 1.0 / (self.sampling.sample_fps or 1.0)
        return after[1] - before[1] > GAP_TOLERANCE * period_s + 1e-9
