"""The sampling loop: when it has settled, what counts, when it ends."""

from collections.abc import Iterator

import pytest

from istvt.benchmarks import timing
from istvt.benchmarks.timing import FrameTime, TimeFrame, sample, total_s, warm_up
from tests.benchmarks.fakes import frame


def script(*frame_ms: float) -> tuple[TimeFrame, Iterator[FrameTime]]:
    """Frames of these durations in turn; what is left of them shows how many were run."""
    left = iter([frame(duration) for duration in frame_ms])
    return lambda: next(left), left


def test_a_frame_is_the_sum_of_its_stages() -> None:
    assert FrameTime(encoder_s=0.25, window_s=1.5).frame_s == 1.75
    assert total_s([frame(20.0), frame(30.0)]) == pytest.approx(0.05)


def test_warm_up_runs_until_three_calls_agree() -> None:
    time_frame, left = script(900, 300, 120, 104, 102, 100, 77)
    times = warm_up(time_frame)
    assert [round(time.frame_s * 1e3) for time in times] == [900, 300, 120, 104, 102, 100]
    assert len(list(left)) == 1


def test_warm_up_gives_up_after_a_number_of_calls() -> None:
    restless = [10.0 if i % 2 else 20.0 for i in range(100)]
    time_frame, _ = script(*restless)
    assert len(warm_up(time_frame)) == timing.WARM_UP_CALLS


def test_warm_up_gives_up_after_a_time() -> None:
    time_frame, _ = script(4_000, 3_000, 1_000)
    assert len(warm_up(time_frame)) == 2


def test_a_turn_lasts_as_long_as_asked_and_discards_its_first_call() -> None:
    time_frame, left = script(50, 10, 10, 10, 10, 99)
    times = sample(time_frame, seconds=0.035, at_least=2, usual_s=0.001)
    assert [round(time.frame_s * 1e3) for time in times] == [10, 10, 10, 10]
    assert next(left).frame_s == pytest.approx(0.099)


def test_long_calls_are_all_counted_and_at_least_so_many() -> None:
    time_frame, _ = script(3_000, 2_000, 1_000)
    times = sample(time_frame, seconds=0.2, at_least=2, usual_s=3.0)
    assert [time.frame_s for time in times] == pytest.approx([3.0, 2.0])
