"""Windows over sampled frames, for any stream of positions: none spans a gap, none is missed."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from istvt.presets import Sampling
from istvt.records import Window
from istvt.runtime.window import WindowBuffer
from istvt.video.sampling import FrameSampler

Position = tuple[int, float]

samplings = st.one_of(
    st.builds(Sampling, frame_step=st.integers(1, 5)),
    st.builds(Sampling, frame_step=st.none(), sample_fps=st.sampled_from([5.0, 10.0, 12.5, 25.0])),
)


@st.composite
def streams(draw: st.DrawFn) -> list[Position]:
    """Frames of a source whose rate varies and of which some are dropped, one by one or in rows."""
    steps = st.tuples(st.sampled_from([1, 1, 1, 1, 2, 3, 20]), st.floats(0.5, 1.5))
    index, time_s, positions = 0, draw(st.floats(0.0, 1e6)), []
    for skipped, jitter in draw(st.lists(steps, max_size=60)):
        index, time_s = index + skipped, time_s + skipped * jitter / 30
        positions.append((index, time_s))
    return positions


def run(
    stream: list[Position], sampling: Sampling, num_frames: int
) -> tuple[FrameSampler, list[Position], list[Window[Position] | None]]:
    """Return the sampled positions, and what each of them completed."""
    sampler = FrameSampler(sampling)
    buffer: WindowBuffer[Position] = WindowBuffer(3, num_frames, is_gap=sampler.is_gap)
    sampled = [position for position in stream if sampler.takes(*position)]
    return sampler, sampled, [buffer.push(p, index=p[0], time_s=p[1]) for p in sampled]


@given(streams(), samplings, st.integers(1, 8))
def test_no_window_spans_a_gap_and_none_is_missed(
    stream: list[Position], sampling: Sampling, num_frames: int
) -> None:
    sampler, sampled, windows = run(stream, sampling, num_frames)
    for end, window in enumerate(windows, start=1):
        last = sampled[max(0, end - num_frames) : end]
        has_gap = any(sampler.is_gap(before, after) for before, after in pairwise(last))
        if has_gap or len(last) < num_frames:
            assert window is None
        else:
            assert window == Window(3, tuple(last), tuple(time_s for _, time_s in last))


@given(streams(), samplings, st.integers(1, 8))
def test_windows_hold_exactly_t_frames_with_increasing_times(
    stream: list[Position], sampling: Sampling, num_frames: int
) -> None:
    for window in filter(None, run(stream, sampling, num_frames)[2]):
        assert len(window.items) == len(window.times_s) == num_frames
        assert all(before < after for before, after in pairwise(window.times_s))
        if sampling.frame_step is not None:
            step = sampling.frame_step
            for before, after in pairwise(window.items):
                assert step <= after[0] - before[0] <= 1.5 * step
                assert after[1] - before[1] <= max(0.5, 4 * step * 1.5 / 30)
        else:
            longest_s = 2.0 / (sampling.sample_fps or 0)  # each within half a tick of its own
            assert all(b - a <= longest_s + 1e-6 for a, b in pairwise(window.times_s))


@given(st.integers(2, 8), st.integers(1, 30), st.integers(2, 40))
def test_a_gap_costs_t_minus_one_frames(num_frames: int, before: int, jump: int) -> None:
    frames = [(i, i / 30) for i in range(before)]
    frames += [(before - 1 + jump + i, (before - 1 + jump + i) / 30) for i in range(num_frames)]
    windows = run(frames, Sampling(frame_step=1), num_frames)[2]
    assert all(window is None for window in windows[before:-1])
    assert windows[-1] is not None
    assert windows[-1].items == tuple(frames[-num_frames:])


@pytest.mark.parametrize("num_frames", [1, 6])
def test_one_frame_more_is_one_window_more(num_frames: int) -> None:
    stream = [(index, index / 30) for index in range(20)]
    windows = run(stream, Sampling(frame_step=1), num_frames)[2]
    assert sum(window is not None for window in windows) == 20 - num_frames + 1
