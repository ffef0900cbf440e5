"""An engine with plugins under ever other numbers of faces: does the GPU's memory fill up?

In TensorRT 11 each change of a shape may leave the plugin's code behind (NVIDIA/TensorRT #4849).
"""

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

from gpu_check.bundles import BundlePrecision, open_exported
from gpu_check.engines import MAX_WINDOW_BATCH, read_window_record
from gpu_check.result import CannotRunError, Outcome, Settings
from gpu_check.subject import make_windows
from istvt.extras import require
from istvt.runtime.backends.choose import open_scorer
from istvt.scorer import Scorer

WARM_UP_ROUNDS, AT_LEAST_ROUNDS, AT_MOST_ROUNDS, HALF_S = 3, 25, 75, 2.0
ALLOWED_MIB = 8.0  # a block's module kept in each round is far more


def check_memory(settings: Settings, *, backend: str, precision: BundlePrecision) -> Outcome:
    """Score all numbers of windows in turns with the engine that an earlier check built.

    Raises:
        CannotRunError: it built none with a plugin.
    """
    bundle = open_exported(settings, precision)
    record = read_window_record(bundle, backend)
    if record is None or not record.plugins:
        raise CannotRunError(f"there is no engine of {backend} with a plugin in {precision}")
    torch = require("torch", extra="gpu")
    with open_scorer(bundle, backend=backend, device="cuda", eager_kernels=True) as scorer:
        outcome = measure_growth(scorer, lambda: torch.cuda.mem_get_info()[0])
    return replace(outcome, note=record.way)


def measure_growth(scorer: Scorer, free_bytes: Callable[[], int]) -> Outcome:
    """Score 1, 2, ... windows at once, again and again; only first rounds may take memory.

    What is free is so for all programs of the machine, and another one may take some now and then:
    a leak is what grows in both halves of the time.
    """
    windows = [
        scorer.encode(window) for window in make_windows(scorer.info.spec, count=MAX_WINDOW_BATCH)
    ]

    def score_all() -> None:
        for size in range(1, MAX_WINDOW_BATCH + 1):
            scorer.score(windows[:size])

    for _ in range(WARM_UP_ROUNDS):
        score_all()
    free, rounds = [free_bytes()], 0
    for _ in range(2):
        rounds += _repeat(score_all)
        free.append(free_bytes())
    grown_mib = [(before - after) / 2**20 for before, after in pairwise(free)]
    figures = {
        "batches": rounds * MAX_WINDOW_BATCH,
        "first_half_grown_mib": grown_mib[0],
        "second_half_grown_mib": grown_mib[1],
    }
    return Outcome(figures, passed=min(grown_mib) <= ALLOWED_MIB)


def _repeat(score_all: Callable[[], None]) -> int:
    """Score for a while; give the number of rounds."""
    end_s, rounds = time.perf_counter() + HALF_S, 0
    while rounds < AT_LEAST_ROUNDS or (rounds < AT_MOST_ROUNDS and time.perf_counter() < end_s):
        score_all()
        rounds += 1
    return rounds
