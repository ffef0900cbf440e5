"""Turns, and ratios within them."""

from itertools import count
from types import SimpleNamespace

import pytest

from gpu_check import clock


def test_subjects_take_turns_after_a_warm_up():
    calls = []
    ticks = count(1)

    def time_ms(work):
        work()
        return float(next(ticks))

    works = {name: (lambda name=name: calls.append(name)) for name in "ab"}
    times = clock.take_turns(works, time_ms, seconds=0.0)
    assert calls == ["a", "b"] * (len(calls) // 2)
    last = len(calls)
    assert times == {"a": [*range(last - 9, last, 2)], "b": [*range(last - 8, last + 1, 2)]}


def test_what_is_still_being_compiled_is_not_measured():
    """TensorRT-RTX runs other kernels until it has compiled those of a shape."""
    durations = iter([10.0] * (clock.WARM_UP_CALLS + 1) + [1.0] * 100)
    times = clock.take_turns({"a": lambda: None}, lambda work: next(durations), seconds=0.0)
    assert times == {"a": [1.0] * clock.AT_LEAST_ROUNDS}


def test_a_machine_that_never_settles_is_measured_all_the_same():
    ticks = count(1)
    times = clock.take_turns({"a": lambda: None}, lambda work: 2.0 ** next(ticks), seconds=0.0)
    assert times["a"][0] == 2.0 ** (clock.LOOKS * clock.WARM_UP_CALLS + 1)


def test_measuring_ends():
    times = clock.take_turns({"a": lambda: None}, lambda work: 0.0, seconds=30.0)
    assert len(times["a"]) == clock.AT_MOST_ROUNDS


@pytest.mark.parametrize(("once_ms", "calls"), [(0.13, 16), (5.0, 1), (0.0, 1)])
def test_short_work_is_repeated_until_its_start_no_longer_counts(once_ms, calls):
    done = []
    works = SimpleNamespace(device_ms=lambda work: once_ms)
    several, number = clock.queue_several(lambda: done.append(1), works)
    several()
    assert (number, len(done)) == (calls, calls)
    assert clock.LONG_MS >= 100 * 10e-3  # a launch takes some 10 us


def test_a_machine_that_slows_down_leaves_the_ratio():
    assert clock.median_ratio([2.0, 4.0, 80.0], [1.0, 2.0, 40.0]) == 2.0


def test_the_host_clock_times_the_call(monkeypatch):
    now = iter([5.0, 5.25])
    monkeypatch.setattr(clock.time, "perf_counter", lambda: next(now))
    assert clock.make_clock("cpu").wall_ms(lambda: None) == 250.0
