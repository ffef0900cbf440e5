"""Time kernels on the GPU's clock, and what a user waits for on the wall's."""

import math
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from gpu_check.subject import DeviceKind

Work: TypeAlias = Callable[[], Any]

WARM_UP_CALLS = 3
AT_LEAST_ROUNDS, AT_MOST_ROUNDS = 5, 1000
LONG_MS = 2.0  # of the GPU's time; what starts it, some 10 us, no longer counts
LOOKS, SETTLED = 8, 0.05  # each a quarter of the time to measure in; settled is within so much


class Clock:
    """Times work; this one on the CPU, to rehearse."""

    def record(self, work: Work) -> Work:
        """Turn work into something that queues all of it in one call and gives the same result."""
        return work

    def device_ms(self, work: Work) -> float:
        """Time work from its first kernel's start to its last one's end."""
        return self.wall_ms(work)

    def wall_ms(self, work: Work) -> float:
        """Time work from an idle device until it is idle again."""
        start_s = time.perf_counter()
        work()
        return 1e3 * (time.perf_counter() - start_s)


class CudaClock(Clock):
    """CUDA events and graphs."""

    def __init__(self) -> None:
        import torch

        self._cuda = torch.cuda

    def record(self, work: Work) -> Work:
        """Record a CUDA graph; its result lies in the same memory after every call."""
        cuda = self._cuda
        side = cuda.Stream()
        side.wait_stream(cuda.current_stream())
        with cuda.stream(side):  # what the first calls set up must not be captured
            for _ in range(WARM_UP_CALLS):
                work()
        cuda.current_stream().wait_stream(side)
        graph = cuda.CUDAGraph()
        with cuda.graph(graph):
            result = work()

        def replay() -> Any:
            graph.replay()
            return result

        return replay

    def device_ms(self, work: Work) -> float:
        """Time with CUDA events."""
        start, end = (self._cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end))

    def wall_ms(self, work: Work) -> float:
        """Time from an idle GPU until it is idle again."""
        self._cuda.synchronize()
        start_s = time.perf_counter()
        work()
        self._cuda.synchronize()
        return 1e3 * (time.perf_counter() - start_s)


def make_clock(device: DeviceKind) -> Clock:
    """Give the clock of a device."""
    return CudaClock() if device == "cuda" else Clock()


def queue_several(work: Work, clock: Clock) -> tuple[Work, int]:
    """Call work so many times over that its start does not count, and that launches run ahead.

    Returns:
        Work, and how many calls of the given one it is.
    """
    once_ms = min(clock.device_ms(work) for _ in range(WARM_UP_CALLS))
    calls = max(1, math.ceil(LONG_MS / once_ms)) if once_ms > 0 else 1

    def several() -> None:
        for _ in range(calls):
            work()

    return several, calls


def take_turns(
    subjects: Mapping[str, Work], time_ms: Callable[[Work], float], *, seconds: float
) -> dict[str, list[float]]:
    """Time subjects in turns, A B C A B C, so that a GPU that slows down slows all of them down.

    Before that they take turns until no median changes any more, or for twice the time to measure:
    TensorRT-RTX and others go on compiling while they already run.

    Args:
        subjects: by name.
        time_ms: of one call; of a `Clock`.
        seconds: of measuring in all, after the warm-up; at least `AT_LEAST_ROUNDS` rounds.

    Returns:
        Times in ms, by name, one a round.
    """
    before: list[float] = []
    for _ in range(LOOKS):
        look = _turns(subjects, time_ms, seconds=seconds / 4, at_least=WARM_UP_CALLS)
        medians = [statistics.median(ms) for ms in look.values()]
        if before and all(abs(a - b) <= SETTLED * b for a, b in zip(medians, before, strict=True)):
            break
        before = medians
    return _turns(subjects, time_ms, seconds=seconds, at_least=AT_LEAST_ROUNDS)


def _turns(
    subjects: Mapping[str, Work],
    time_ms: Callable[[Work], float],
    *,
    seconds: float,
    at_least: int,
) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in subjects}
    end_s = time.perf_counter() + seconds
    rounds = 0
    while rounds < at_least or (rounds < AT_MOST_ROUNDS and time.perf_counter() < end_s):
        for name, work in subjects.items():
            times[name].append(time_ms(work))
        rounds += 1
    return times


def median_ratio(over: list[float], under: list[float]) -> float:
    """Give the median of the ratios within each round."""
    return statistics.median(a / b for a, b in zip(over, under, strict=True))
