"""The training's own steps in bf16: windows a second and memory, by batch size."""

import gc
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import repeat
from typing import Any

from gpu_check.check import Check
from gpu_check.result import CannotRunError, Outcome, Settings
from gpu_check.subject import make_windows
from istvt.extras import require

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
REHEARSED_BATCHES = (1, 2)
WARM_UP_STEPS, AT_LEAST_STEPS = 2, 3


def measure_steps(settings: Settings, *, batch: int, checkpoints: bool) -> Outcome:
    """Take steps of the paper's recipe with noise for faces.

    Raises:
        CannotRunError: in a rehearsal, for all but small batches.
        MissingExtraError: PyTorch or Lightning Fabric is not installed.
    """
    torch, _ = require("torch", extra="gpu"), require("lightning_fabric", extra="train")
    if settings.device == "cpu" and batch not in REHEARSED_BATCHES:
        raise CannotRunError("a rehearsal on a CPU takes small batches only")
    if settings.device == "cuda":
        gc.collect()  # a batch that did not fit leaves cycles behind
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    step = _make_step(settings, torch, batch=batch, checkpoints=checkpoints)
    for _ in range(WARM_UP_STEPS):
        step()
    times_s: list[float] = []
    while len(times_s) < AT_LEAST_STEPS or sum(times_s) < settings.seconds:
        start_s = time.perf_counter()
        step()  # gives the loss as a number, so the device is idle when it returns
        times_s.append(time.perf_counter() - start_s)
    step_s = statistics.median(times_s)
    figures = {"step_ms": 1e3 * step_s, "windows_per_s": batch / step_s}
    if settings.device == "cuda":
        figures["peak_mib"] = torch.cuda.max_memory_allocated() / 2**20
    return Outcome(figures)


def _make_step(settings: Settings, torch: Any, *, batch: int, checkpoints: bool) -> Any:
    from istvt.models.istvt.model import ISTVT
    from istvt.training.distributed import join_processes
    from istvt.training.run.recipe import PAPER_RECIPE
    from istvt.training.step import set_up

    recipe = replace(PAPER_RECIPE, precision="bf16", checkpoint_activations=checkpoints)
    processes = join_processes(torch.device(settings.device), "bf16")
    model = ISTVT(settings.preset).train()
    _, stepper = set_up(model, recipe, processes=processes, done=lambda step: 0.5)
    windows = torch.from_numpy(make_windows(settings.preset, count=min(batch, 8)))
    windows = windows.repeat(-(-batch // len(windows)), 1, 1, 1, 1)[:batch].to(settings.device)
    labels = torch.arange(batch, device=settings.device).remainder(2).float()
    batches: Iterator[Any] = repeat((windows, labels))
    return lambda: stepper.step(batches)


CHECKS: dict[str, Check] = {
    f"batch {batch}" + (", checkpoints" if checkpoints else ""): partial(
        measure_steps, batch=batch, checkpoints=checkpoints
    )
    for checkpoints in (False, True)
    for batch in BATCHES
}
