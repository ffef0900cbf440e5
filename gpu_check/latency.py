"""A streamed frame in fp16, in every way of PyTorch, each in turns with eager."""

import statistics
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from typing import Any

from gpu_check.check import Check
from gpu_check.clock import Work, make_clock, median_ratio, take_turns
from gpu_check.model import allowed_error, outcome_of
from gpu_check.rates import TORCH_NAMES, product_rate
from gpu_check.result import Outcome, Settings
from gpu_check.subject import make_model, make_windows, reference_logits
from gpu_check.ways import MODES, Stages, WayName, make_stages
from istvt.extras import require
from istvt.presets import ModelPreset

BATCHES = (1, 8)
STAGE_NAMES = ("encoder", "window", "frame")


def measure_way(settings: Settings, *, way: WayName, batch: int) -> Outcome:
    """Time encoder, window and frame of one way beside eager, once it says what it should."""
    torch = require("torch", extra="gpu")
    with torch.no_grad(), ExitStack() as stack:
        stages = open_way(settings, way=way, batch=batch, stack=stack)
        parity = _compare(settings, stages, way=way, batch=batch)
        eager = open_way(settings, way="eager", batch=batch, stack=stack)
        works = frame_works(settings, stages), frame_works(settings, eager)
        figures = measure_frames(settings, *works, batch=batch)
    note = f"torch.compile, mode {MODES[way]}" if way in MODES else ""
    kept = {"max_abs_logit": parity.figures["max_abs_logit"]}
    return Outcome({**figures, **kept}, passed=parity.passed, note=note)


def _compare(settings: Settings, stages: Stages, *, way: WayName, batch: int) -> Outcome:
    """Hold what is timed against fp32 on the CPU, in whole batches."""
    with compiling(settings, way):
        found = stages.logits(make_windows(settings.preset))
    limit = allowed_error(settings.half, settings.device)
    return outcome_of(reference_logits(settings), found, limit)


def compiling(settings: Settings, way: WayName) -> AbstractContextManager[None]:
    """Surround the first calls of a way."""
    return settings.building("torch.compile compiled") if way in MODES else nullcontext()


def open_way(settings: Settings, *, way: WayName, batch: int, stack: ExitStack) -> Stages:
    """Make the model in half precision ready to run in one way, until the stack is closed."""
    torch = require("torch", extra="gpu")
    dtype = getattr(torch, TORCH_NAMES[settings.half])
    model = make_model(settings.preset).to(settings.device, dtype)
    return make_stages(way, model, batch=batch, clock=make_clock(settings.device), stack=stack)


def frame_works(settings: Settings, stages: Stages) -> dict[str, Work]:
    """Give what is timed of one way, by the stage's name."""
    torch = require("torch", extra="gpu")
    windows = make_windows(settings.preset, count=len(stages.pixels))
    stages.logits(windows)
    faces = torch.from_numpy(windows[:, 0].copy())
    if settings.device == "cuda":
        faces = faces.pin_memory()
    return {
        "encoder": stages.encode,
        "window": stages.score,
        "frame": lambda: stages.frame(faces),
    }


def measure_frames(
    settings: Settings, ours: dict[str, Work], eager: dict[str, Work], *, batch: int
) -> dict[str, float]:
    """Time all stages of one way in turns with those of eager.

    Args:
        settings: of the run.
        ours: by the stage's name; a stage that cannot be timed alone is left out.
        eager: all stages.
        batch: windows of a frame.
    """
    subjects = {f"our {name}": work for name, work in ours.items()}
    subjects |= {f"eager {name}": work for name, work in eager.items()}
    times = take_turns(subjects, make_clock(settings.device).wall_ms, seconds=3 * settings.seconds)
    medians = {name: statistics.median(ms) for name, ms in times.items()}
    figures = {f"{name}_ms": medians[f"our {name}"] for name in STAGE_NAMES if name in ours}
    tflop_per_s = window_flop(settings.preset, batch) / medians["our window"] / 1e9
    rate = product_rate(settings, settings.half)
    return {
        **figures,
        "eager_frame_ms": medians["eager frame"],
        "times_eager": median_ratio(times["eager frame"], times["our frame"]),
        "window_tflop_per_s": tflop_per_s,
        "of_products_percent": 100 * tflop_per_s / rate,
    }


def window_flop(preset: ModelPreset, batch: int) -> float:
    """Count the sums and products of the window graph's matrix products, from the shapes alone."""
    torch = require("torch", extra="gpu")
    from torch.utils.flop_counter import FlopCounterMode

    from istvt.models.istvt.model import ISTVT

    with torch.device("meta"), torch.no_grad():
        model: Any = ISTVT(preset).eval()
        features = torch.empty(batch, preset.num_frames, preset.num_patches, preset.embed_dim)
        with FlopCounterMode(display=False) as counter:
            model.score(features)
    return float(counter.get_total_flops())


def checks_of(*subjects: tuple[WayName, int]) -> dict[str, Check]:
    """Name the checks of some ways, each at a batch."""
    return {
        f"{way} batch {batch}": partial(measure_way, way=way, batch=batch)
        for way, batch in subjects
    }


CHECKS = checks_of(
    *(("eager", 1), ("fused, graph", 1), ("eager", 8), ("fused, graph", 8)),
    *(("compiled", 1), ("fused, compiled", 1), ("fused, compiled", 8)),
)
