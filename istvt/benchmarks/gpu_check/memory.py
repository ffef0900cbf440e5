"""An engine with plugins under ever other numbers of faces: does the GPU's memory fill up?

In TensorRT 11 each change of a shape may leave the plugin's code behind (NVIDIA/TensorRT #4849).
"""

import time
from collections.abc import Callable
from dataclasses import replace

from istvt.benchmarks.gpu_check.bundles import BundlePrecision, open_exported
from istvt.benchmarks.gpu_check.engines import MAX_WINDOW_BATCH, read_window_record
from istvt.benchmarks.gpu_check.result import CannotRunError, Outcome, Settings
from istvt.benchmarks.gpu_check.subject import make_windows
from istvt.extras import require
from istvt.runtime.backends.choose import open_scorer
from istvt.runtime.scorer import Scorer

WARM_UP_ROUNDS, AT_LEAST_ROUNDS, AT_MOST_ROUNDS, SECONDS = 3, 25, 125, 3.0
ALLOWED_MIB = 8.0  # other programs of a desktop; a block's module kept in each round is far more


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
    with open_scorer(bundle, backend=backend, device="cuda") as scorer:
        outcome = measure_growth(scorer, lambda: torch.cuda.mem_get_info()[0])
    return replace(outcome, note=record.way)


def measure_growth(scorer: Scorer, free_bytes: Callable[[], int]) -> Outcome:
    """Score 1, 2, ... windows at once, again and again; only first rounds may take memory."""
    windows = [
        scorer.encode(window) for window in make_windows(scorer.info.preset, count=MAX_WINDOW_BATCH)
    ]

    def score_all() -> None:
        for size in range(1, MAX_WINDOW_BATCH + 1):
            scorer.score(windows[:size])

    for _ in range(WARM_UP_ROUNDS):
        score_all()
    before, end_s, rounds = free_bytes(), time.perf_counter() + SECONDS, 0
    while rounds < AT_LEAST_ROUNDS or (rounds < AT_MOST_ROUNDS and time.perf_counter() < end_s):
        score_all()
        rounds += 1
    grown_mib = (before - free_bytes()) / 2**20
    figures = {"batches": rounds * MAX_WINDOW_BATCH, "grown_mib": grown_mib}
    return Outcome(figures, passed=grown_mib <= ALLOWED_MIB)
