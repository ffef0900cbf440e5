"""Which frames a model sees: the same for any start, any rate and any hiccup."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from istvt.presets import Sampling
from istvt.video.sampling import FrameSampler


def sampled(fps: float, sampling: Sampling, *, start_s: float = 0.0) -> list[tuple[int, float]]:
    sampler = FrameSampler(sampling)
    frames = [(index, start_s + index / fps) for index in range(round(20 * fps))]
    return [frame for frame in frames if sampler.takes(*frame)]


@given(st.integers(1, 10), st.floats(1.0, 120.0))
def test_a_step_takes_every_kth_frame_whatever_the_rate(step: int, fps: float) -> None:
    taken = [index for index, _ in sampled(fps, Sampling(frame_step=step))]
    assert taken == list(range(0, round(20 * fps), step))


@given(st.floats(20.0, 120.0), st.floats(1.0, 10.0), st.floats(0.0, 1e5))
def test_a_clock_keeps_its_rate_without_gaps(fps: float, sample_fps: float, start_s: float) -> None:
    sampling = Sampling(frame_step=None, sample_fps=sample_fps)
    taken = sampled(fps, sampling, start_s=start_s)
    assert len(taken) == pytest.approx(20 * sample_fps, abs=2)
    sampler = FrameSampler(sampling)
    assert not any(sampler.is_gap(before, after) for before, after in pairwise(taken))


@pytest.mark.parametrize("fps", [24.0, 25.0, 29.97, 30.0, 50.0])
def test_a_clock_at_the_native_rate_takes_every_frame(fps: float) -> None:
    taken = sampled(fps, Sampling(frame_step=None, sample_fps=fps))
    assert [index for index, _ in taken] == list(range(round(20 * fps)))


def test_a_clock_does_not_catch_up_after_a_pause() -> None:
    sampler = FrameSampler(Sampling(frame_step=None, sample_fps=10.0))
    times_s = [0.0, 0.1, 0.2, 5.03, 5.06, 5.1, 5.15, 5.2]
    taken = [time_s for index, time_s in enumerate(times_s) if sampler.takes(index, time_s)]
    assert taken == [0.0, 0.1, 0.2, 5.03, 5.1, 5.2]


@pytest.mark.parametrize(
    ("sampling", "after", "is_gap"),
    [
        (Sampling(frame_step=1), (1, 9.0), False),
        (Sampling(frame_step=1), (2, 0.04), True),
        (Sampling(frame_step=4), (4, 9.0), False),
        (Sampling(frame_step=4), (8, 0.04), True),
        (Sampling(frame_step=None, sample_fps=10.0), (99, 0.15), False),
        (Sampling(frame_step=None, sample_fps=10.0), (1, 0.16), True),
    ],
)
def test_gaps_are_judged_in_the_samplings_own_unit(
    sampling: Sampling, after: tuple[int, float], is_gap: bool
) -> None:
    assert FrameSampler(sampling).is_gap((0, 0.0), after) is is_gap
