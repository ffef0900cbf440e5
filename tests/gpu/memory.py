"""Tell whether a scorer takes more and more of the GPU's memory under ever other batches."""

import time
from collections.abc import Callable
from itertools import pairwise

from gpu_check.engines import MAX_WINDOW_BATCH
from gpu_check.subject import make_windows
from istvt.scorer import Scorer

WARM_UP_ROUNDS, AT_LEAST_ROUNDS, AT_MOST_ROUNDS, HALF_S = 3, 25, 75, 2.0
ALLOWED_MIB = 8.0  # a block's module kept in each round is far more


def measure_growth(scorer: Scorer, free_bytes: Callable[[], int]) -> tuple[float, float]:
    """Score 1, 2, ... windows at once, again and again; only first rounds may take memory.

    What is free is so for all programs of the machine, and another one may take some now and then:
    a leak is what grows in both halves of the time.

    Returns:
        MiB that each half took.
    """
    windows = [
        scorer.encode(window) for window in make_windows(scorer.info.spec, count=MAX_WINDOW_BATCH)
    ]

    def score_all() -> None:
        for size in range(1, MAX_WINDOW_BATCH + 1):
            scorer.score(windows[:size])

    for _ in range(WARM_UP_ROUNDS):
        score_all()
    free = [free_bytes()]
    for _ in range(2):
        _repeat(score_all)
        free.append(free_bytes())
    first, second = [(before - after) / 2**20 for before, after in pairwise(free)]
    return first, second


def _repeat(score_all: Callable[[], None]) -> None:
    end_s, rounds = time.perf_counter() + HALF_S, 0
    while rounds < AT_LEAST_ROUNDS or (rounds < AT_MOST_ROUNDS and time.perf_counter() < end_s):
        score_all()
        rounds += 1
