"""Measure what targets are made of: this GPU's rates, and a streamed frame in every way to run it.

Kernels are timed on the GPU's clock, what a user waits for on the wall's; each beside eager PyTorch
and in turns with it. A time counts where the logits of the same way and batch are right.
"""

import statistics
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from typing import Any, cast

import numpy as np

from gpu_check.clock import Work, make_clock, median_ratio, queue_several, take_turns
from gpu_check.engines import open_subject, subject_of
from gpu_check.kernels import large_copy
from gpu_check.subject import (
    TORCH_NAMES,
    CannotRunError,
    Settings,
    allowed_error,
    building,
    check_logits,
    describe_parity,
    is_right,
    make_model,
    make_windows,
    reference_logits,
    require_bf16,
)
from gpu_check.table import OF_EAGER, Contender, Row
from gpu_check.ways import MODES, OURS, Stages, WayName, make_stages
from istvt.extras import require
from istvt.presets import ModelPreset
from istvt.records import FloatPrecision
from istvt.runtime.parity import ParityResult
from istvt.scorer import Features, Scorer

STAGES = ("encoder", "window", "frame")
MATRIX_SIZE = {"cuda": 8192, "cpu": 256}
TURNS = 3  # a CUDA graph is recorded in the second, in use in the third


def describe_gpu(settings: Settings, row: Row) -> Row:
    """Name the GPU that PyTorch uses.

    Raises:
        CannotRunError: PyTorch sees none.
        MissingExtraError: PyTorch is not installed.
    """
    torch = require("torch", extra="gpu")
    if not torch.cuda.is_available():
        raise CannotRunError(f"PyTorch {torch.__version__} sees no CUDA device on this machine")
    about = torch.cuda.get_device_properties(0)
    figures = {
        "compute_capability": 10 * about.major + about.minor,
        "l2_mib": about.L2_cache_size / 2**20,
        "multiprocessors": about.multi_processor_count,
    }
    memory_gib = about.total_memory / 2**30
    row = replace(row, subject=about.name, note=f"CUDA {torch.version.cuda}", figures=figures)
    return replace(row, status="measured", value=memory_gib, unit="GiB")


def measure_copy(settings: Settings, row: Row) -> Row:
    """Copy within the device's memory; each byte counts twice, read and written."""
    copy, moved = large_copy(settings)
    times_ms = take_turns(
        {"copy": copy}, make_clock(settings.device).device_ms, seconds=settings.seconds
    )["copy"]
    gb_per_s = moved / statistics.median(times_ms) / 1e6
    return replace(row, status="measured", value=gb_per_s, unit="GB/s")


def measure_products(settings: Settings, row: Row) -> Row:
    """Multiply square matrices, and those of the model's widest layer at batch 8."""
    require_bf16(settings.device, row.dtype)
    preset, dtype = settings.preset, cast(FloatPrecision, row.dtype)
    rows = 8 * (preset.num_frames + 1) * (preset.num_patches + 1)
    widest = (rows, preset.embed_dim, preset.mlp_ratio * preset.embed_dim)
    figures = {"mlp_shape_tflop_per_s": product_rate(settings, dtype, widest)}
    rate = product_rate(settings, dtype)
    return replace(row, status="measured", value=rate, unit="TFLOP/s", figures=figures)


def product_rate(
    settings: Settings, dtype: FloatPrecision, shape: tuple[int, int, int] | None = None
) -> float:
    """Measure how fast matrices are multiplied.

    Args:
        settings: of the run.
        dtype: of both factors.
        shape: `(m, k, n)` of `(m, k) @ (k, n)`; large and square where None.

    Returns:
        TFLOP/s, sums and products counted.
    """
    torch = require("torch", extra="gpu")
    m, k, n = shape or (MATRIX_SIZE[settings.device],) * 3
    kind = {"dtype": getattr(torch, TORCH_NAMES[dtype]), "device": settings.device}
    left, right = torch.randn(m, k, **kind), torch.randn(k, n, **kind)
    product = torch.empty(m, n, **kind)
    clock = make_clock(settings.device)
    works, calls = queue_several(lambda: torch.matmul(left, right, out=product), clock)
    times_ms = take_turns({"product": works}, clock.device_ms, seconds=settings.seconds / 2)
    return calls * 2 * m * k * n / statistics.median(times_ms["product"]) / 1e9


def measure_way(settings: Settings, row: Row) -> Row:
    """Time encoder, window and frame of a way of PyTorch beside eager."""
    torch = require("torch", extra="gpu")
    way, batch = cast(WayName, row.subject), row.batch or 1
    with torch.no_grad(), ExitStack() as stack:
        stages = open_way(settings, way=way, batch=batch, stack=stack)
        with compiling(way):
            found = stages.logits(make_windows(settings.preset))
        limit = allowed_error(settings.half, settings.device)
        parity = check_logits(reference_logits(settings), found, limit)
        eager = open_way(settings, way="eager", batch=batch, stack=stack)
        works = frame_works(settings, stages), frame_works(settings, eager)
        figures = measure_frames(settings, *works, batch=batch)
    contender: Contender = "eager"
    if way != "eager":
        contender = "ours" if way in OURS else "torch.compile"
    note = f"torch.compile, mode {MODES[way]}" if way in MODES else ""
    return fill(replace(row, contender=contender, note=note), figures, parity)


def measure_scorer(settings: Settings, row: Row) -> Row:
    """Time a frame in a backend beside eager; stages within it cannot be told from outside."""
    torch = require("torch", extra="gpu")
    batch = row.batch or 1
    with ExitStack() as stack:
        scorer = stack.enter_context(open_subject(settings, subject_of(row)))
        parity = check_turns(settings, scorer, batch=batch)
        with torch.no_grad():
            eager = open_way(settings, way="eager", batch=batch, stack=stack)
            works = scorer_works(scorer, batch), frame_works(settings, eager)
            figures = measure_frames(settings, *works, batch=batch)
        is_fused = getattr(scorer, "is_fused", True)  # PyTorch may have given our kernels up
    return fill(replace(row, contender="ours" if is_fused else ""), figures, parity)


def check_turns(settings: Settings, scorer: Scorer, *, batch: int) -> ParityResult:
    """Compare logits in whole batches, of other windows in each turn, with fp32 on the CPU."""
    reference, windows = reference_logits(settings), make_windows(settings.preset)
    expected, found = [], []
    for turn in range(TURNS):
        faces = np.roll(windows, turn, axis=0)
        expected.append(np.roll(reference, turn))
        for start in range(0, len(faces), batch):
            features = [scorer.encode(window) for window in faces[start : start + batch]]
            found.append(scorer.score(features))
    limit = allowed_error(scorer.info.precision, settings.device)
    return check_logits(np.concatenate(expected), np.concatenate(found), limit)


def fill(row: Row, figures: Mapping[str, float], parity: ParityResult) -> Row:
    """Put times and parity into a row; wrong logits fail it."""
    return replace(
        row,
        status="pass" if is_right(parity) else "fail",
        reason=describe_parity(parity),
        value=figures["times_eager"],
        unit=OF_EAGER,
        figures={**figures, "max_abs_logit": parity.max_abs_logit},
    )


def compiling(way: WayName) -> AbstractContextManager[None]:
    """Surround the first calls of a way."""
    return building("torch.compile compiled") if way in MODES else nullcontext()


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
    works = (stages.encode, stages.score, lambda: stages.frame(faces))
    return dict(zip(STAGES, works, strict=True))


def scorer_works(scorer: Scorer, batch: int) -> dict[str, Work]:
    """Give the frame of a scorer for some cameras, and its part that ends in the logits."""
    windows = make_windows(scorer.info.spec, count=batch)
    features = [scorer.encode(window) for window in windows]
    faces = windows[:, 0]

    def score() -> Any:
        return scorer.score(features)

    def frame() -> Any:
        new = scorer.encode(faces)
        shifted: list[Sequence[Features]] = [
            [*old[1:], face] for old, face in zip(features, new, strict=True)
        ]
        return scorer.score(shifted)

    return {"window": score, "frame": frame}


def measure_frames(
    settings: Settings, ours: Mapping[str, Work], eager: Mapping[str, Work], *, batch: int
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
    figures = {f"{name}_ms": medians[f"our {name}"] for name in STAGES if name in ours}
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
