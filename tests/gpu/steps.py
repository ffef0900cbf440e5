"""Take steps of the paper's recipe on noise in place of faces."""

from collections.abc import Callable
from dataclasses import replace
from itertools import repeat

from gpu_check.subject import Settings, make_windows
from istvt.extras import require
from istvt.records import FloatPrecision

COMPARED_STEPS = 3
ALLOWED_LOSS = 0.01  # on a CPU 0.002; a step that moves nothing is off by 0.02 each time


def worst_difference(settings: Settings) -> float:
    """Take steps of preset `tiny` in bf16 here and in fp32 on the CPU; compare their losses."""
    tiny = replace(settings, preset_name="tiny")
    here = make_step(tiny, batch=4)
    there = make_step(replace(tiny, device="cpu"), batch=4, precision="fp32")
    return max(abs(here() - there()) for _ in range(COMPARED_STEPS))


def make_step(
    settings: Settings,
    *,
    batch: int,
    checkpoints: bool = False,
    precision: FloatPrecision = "bf16",
) -> Callable[[], float]:
    """Give a function that takes one more step on the same windows and returns its loss."""
    require("lightning_fabric", extra="train")
    import torch

    from istvt.models.istvt.model import ISTVT
    from istvt.training.distributed import join_processes
    from istvt.training.run.recipe import PAPER_RECIPE
    from istvt.training.step import set_up

    recipe = replace(PAPER_RECIPE, precision=precision, checkpoint_activations=checkpoints)
    processes = join_processes(torch.device(settings.device), precision)
    torch.manual_seed(0)
    model = ISTVT(settings.preset).train()
    _, stepper = set_up(model, recipe, processes=processes, done=lambda step: 0.5)
    windows = torch.from_numpy(make_windows(settings.preset, count=min(batch, 8)))
    windows = windows.repeat(-(-batch // len(windows)), 1, 1, 1, 1)[:batch].to(settings.device)
    labels = torch.arange(batch, device=settings.device).remainder(2).float()
    batches = repeat((windows, labels))
    return lambda: stepper.step(batches)
