"""Which frames a model sees: the same for any start, any rate and any hiccup."""

from collections.abc import Sequence
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


@pytest.mark.parametrize("native_fps", [12.5, 24.0, 25.0, 29.97, 30.0, 50.0, 60.0])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.7, 0.8, 0.834, 0.9, 0.99, 1.0])
def test_a_clock_up_to_the_native_rate_leaves_no_gap(native_fps: float, share: float) -> None:
    sampler = FrameSampler(Sampling(frame_step=None, sample_fps=share * native_fps))
    frames = [(index, index / native_fps) for index in range(500)]
    taken = [frame for frame in frames if sampler.takes(*frame)]
    assert len(taken) == pytest.approx(500 * share, abs=2)
    assert not any(sampler.is_gap(before, after) for before, after in pairwise(taken))


@given(st.lists(st.floats(-0.008, 0.008), min_size=300, max_size=300))
def test_a_jittery_camera_at_the_clocks_own_rate_keeps_it(jitter_s: list[float]) -> None:
    sampler = FrameSampler(Sampling(frame_step=None, sample_fps=25.0))
    frames = [(index, 1 + index / 25 + late_s) for index, late_s in enumerate(jitter_s)]
    taken = [frame for frame in frames if sampler.takes(*frame)]
    assert len(taken) >= 299
    assert not any(sampler.is_gap(before, after) for before, after in pairwise(taken[10:]))


def test_a_source_slower_than_the_clock_never_fills_a_window() -> None:
    sampler = FrameSampler(Sampling(frame_step=None, sample_fps=25.0))
    frames = [(index, index / 12.5) for index in range(50)]
    taken = [frame for frame in frames if sampler.takes(*frame)]
    assert all(sampler.is_gap(before, after) for before, after in pairwise(taken))


def test_one_lost_frame_at_the_clocks_own_rate_is_a_gap() -> None:
    sampler = FrameSampler(Sampling(frame_step=None, sample_fps=25.0))
    frames = [(index, index / 25) for index in range(20) if index != 10]
    taken = [frame for frame in frames if sampler.takes(*frame)]
    gaps = [after[0] for before, after in pairwise(taken) if sampler.is_gap(before, after)]
    assert gaps == [11]


def test_a_clock_does_not_catch_up_after_a_pause() -> None:
    sampler = FrameSampler(Sampling(frame_step=None, sample_fps=10.0))
    times_s = [index / 50 for index in range(11)] + [5.03 + index / 50 for index in range(10)]
    taken = [(at, time_s) for at, time_s in enumerate(times_s) if sampler.takes(at, time_s)]
    assert [time_s for _, time_s in taken] == pytest.approx([0.0, 0.1, 0.2, 5.03, 5.11, 5.19])
    assert [sampler.is_gap(*pair) for pair in pairwise(taken)] == [False, False, True, False, False]


@pytest.mark.parametrize(
    ("sampling", "after", "is_gap"),
    [
        (Sampling(frame_step=1), (1, 0.45), False),
        (Sampling(frame_step=1), (1, 9.0), True),
        (Sampling(frame_step=1), (2, 0.04), True),
        (Sampling(frame_step=4), (4, 0.45), False),
        (Sampling(frame_step=4), (4, 9.0), True),
        (Sampling(frame_step=4), (8, 0.04), True),
        (Sampling(frame_step=None, sample_fps=10.0), (99, 0.15), False),
        (Sampling(frame_step=None, sample_fps=10.0), (1, 0.16), True),
    ],
)
def test_gaps_are_judged_in_the_samplings_own_unit(
    sampling: Sampling, after: tuple[int, float], is_gap: bool
) -> None:
    assert FrameSampler(sampling).is_gap((0, 0.0), after) is is_gap


@pytest.mark.parametrize("step", [1, 2])
def test_a_hole_in_time_is_a_gap_though_the_frames_are_numbered_on(step: int) -> None:
    sampler = FrameSampler(Sampling(frame_step=step))
    times_s = [index / 25 for index in range(4)] + [10.16 + index / 25 for index in range(6)]
    taken = [(at, time_s) for at, time_s in enumerate(times_s) if sampler.takes(at, time_s)]
    gaps = [after[0] for before, after in pairwise(taken) if sampler.is_gap(before, after)]
    assert gaps == [4]


@pytest.mark.parametrize("fps", [0.2, 1.0, 5.0])
@pytest.mark.parametrize("step", [1, 3])
def test_a_slow_source_is_no_row_of_gaps(fps: float, step: int) -> None:
    sampler = FrameSampler(Sampling(frame_step=step))
    last = None
    for index in range(20):
        if sampler.takes(index, index / fps):
            assert last is None or not sampler.is_gap(last, (index, index / fps))
            last = (index, index / fps)


@pytest.mark.parametrize(
    ("step", "read", "taken"),
    [
        (2, range(1, 12, 2), [1, 3, 5, 7, 9, 11]),
        (3, range(0, 14, 2), [0, 4, 8, 12]),
        (3, range(4, 14), [4, 7, 10, 13]),
        (5, [0, 1, 7, 9, 12, 13, 40], [0, 7, 12, 40]),
    ],
)
def test_a_step_takes_the_next_frame_where_its_own_was_not_read(
    step: int, read: Sequence[int], taken: list[int]
) -> None:
    sampler = FrameSampler(Sampling(frame_step=step))
    assert [index for index in read if sampler.takes(index, index / 25)] == taken


def test_frames_that_were_not_read_do_not_make_a_hole_look_usual() -> None:
    sampler = FrameSampler(Sampling(frame_step=3))
    for index in range(0, 60, 15):  # a slow machine reads every 15th of 25 a second
        sampler.takes(index, index / 25)
    assert sampler.is_gap((45, 1.8), (48, 2.4))
