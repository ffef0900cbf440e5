"""The attention kernels as PyTorch launches them: are they right, and how near to a copy?"""

import math
import statistics
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from gpu_check.check import Check
from gpu_check.clock import (
    Clock,
    Work,
    make_clock,
    median_ratio,
    queue_several,
    take_turns,
)
from gpu_check.guarded import Case, formula_of, shape_of, worst_error
from gpu_check.machine import require_bf16
from gpu_check.rates import TORCH_NAMES, large_copy
from gpu_check.result import Outcome, Settings
from istvt.extras import require
from istvt.kernels.spec import ITEM_BYTES, AttentionName, KernelSpec
from istvt.records import FloatPrecision

if TYPE_CHECKING:
    from torch import Tensor

BATCHES = (1, 8)
COPIES = ("copy", "large copy")

# T+1, heads, head_dim, columns: beside the preset's own, the longest window and odd ones.
SHAPES = ((17, 8, 64, 362), (10, 3, 24, 129), (7, 2, 128, 5))
ODD_OFFSET_ITEMS = 1  # pointers that are not aligned take another variant of the kernel

# All buffers of one kind together; no cache of a GPU holds so much.
ROTATING_BYTES = {"cuda": 512 << 20, "cpu": 1 << 20}


def launch(attention: AttentionName, qkv: "Tensor", mixed: "Tensor") -> None:
    """Start the kernel; a rehearsal on a CPU takes the formula, with sums in fp32 as it has."""
    if qkv.is_cuda:
        from istvt.kernels.launch import launch as launch_kernel

        launch_kernel(attention, qkv, mixed)
    else:
        mixed.copy_(formula_of(attention)(qkv.float()))


def check_values(settings: Settings, *, attention: AttentionName, dtype: FloatPrecision) -> Outcome:
    """Compare with the formula in fp64, between guards, aligned and not."""
    require("torch", extra="gpu")
    require_bf16(settings, dtype)
    if settings.device == "cuda":
        require("triton", extra="gpu")
    sizes = [(shape_of(settings.preset), batch) for batch in BATCHES]  # those that are timed
    sizes += [(shape, 2) for shape in SHAPES]
    cases = [
        Case(KernelSpec(attention, *shape[:3], dtype), batch, shape[3], offset)
        for shape, batch in sizes
        for offset in (0, ODD_OFFSET_ITEMS)
    ]
    start = partial(launch, attention)
    errors = [worst_error(case, start, device=settings.device) for case in cases]
    return Outcome({"calls": len(cases), "worst_of_allowed": max(errors)}, passed=max(errors) <= 1)


def measure_speed(
    settings: Settings, *, attention: AttentionName, dtype: FloatPrecision, batch: int
) -> Outcome:
    """Time the kernel, the formula, a copy of the same bytes, and a large one, in turns.

    Each is called on one buffer after the other, until caches cannot hold them, and all of that as
    one CUDA graph, replayed until no time of launches counts. The kernel is held against the faster
    of both copies: pieces of this size may be too small for all of the memory's rate.
    """
    torch = require("torch", extra="gpu")
    require_bf16(settings, dtype)
    if settings.device == "cuda":
        require("triton", extra="gpu")
    num_rows, num_heads, head_dim, num_columns = shape_of(settings.preset)
    spec = KernelSpec(attention, num_rows, num_heads, head_dim, dtype)
    moved = moved_bytes(spec, batch, num_columns)
    count = max(2, math.ceil(ROTATING_BYTES[settings.device] / moved))
    kind = {"dtype": getattr(torch, TORCH_NAMES[dtype]), "device": settings.device}
    rows = (count, batch, num_rows, num_columns)
    qkv = torch.randn(*rows, 3, num_heads, head_dim, **kind)
    mixed = torch.empty(*rows, num_heads * head_dim, **kind)
    source = torch.zeros(count, moved // 2, dtype=torch.uint8, device=settings.device)
    target = torch.zeros_like(source)
    clock = make_clock(settings.device)
    works: dict[str, Work] = {
        "ours": partial(_launch_each, attention, qkv, mixed),
        "formula": lambda: [formula_of(attention)(one) for one in qkv],
        "copy": lambda: [to.copy_(this) for to, this in zip(target, source, strict=True)],
    }
    graphs = {name: (clock.record(work), count * moved) for name, work in works.items()}
    graphs["large copy"] = large_copy(settings)
    times_us = _time_bytes(graphs, moved, clock, seconds=settings.seconds)
    medians_us = {name: statistics.median(found) for name, found in times_us.items()}
    return Outcome(
        {
            "ours_us": medians_us["ours"],
            "pytorch_us": medians_us["formula"],
            "copy_us": medians_us["copy"],
            "ours_gb_per_s": moved / medians_us["ours"] / 1e3,
            "copy_gb_per_s": moved / medians_us["copy"] / 1e3,
            "large_copy_gb_per_s": moved / medians_us["large copy"] / 1e3,
            "of_copy_percent": 100
            * min(median_ratio(times_us[name], times_us["ours"]) for name in COPIES),
            "times_pytorch": median_ratio(times_us["formula"], times_us["ours"]),
        }
    )


def _time_bytes(
    works: Mapping[str, tuple[Work, int]], moved: int, clock: Clock, *, seconds: float
) -> dict[str, list[float]]:
    """Time works in turns, of which each moves so many bytes; give the µs for `moved` of them."""
    queued = {name: queue_several(work, clock) for name, (work, _) in works.items()}
    subjects = {name: work for name, (work, _) in queued.items()}
    times_ms = take_turns(subjects, clock.device_ms, seconds=seconds)
    shares = {name: moved / works[name][1] / calls for name, (_, calls) in queued.items()}
    return {name: [1e3 * ms * shares[name] for ms in times_ms[name]] for name in works}


def moved_bytes(spec: KernelSpec, batch: int, num_columns: int) -> int:
    """Count the bytes that must be read and written: three thirds of `qkv`, and one."""
    rows = batch * spec.num_rows * num_columns
    return 4 * rows * spec.num_heads * spec.head_dim * ITEM_BYTES[spec.dtype]


def _launch_each(attention: AttentionName, qkv: "Tensor", mixed: "Tensor") -> None:
    for pair in zip(qkv, mixed, strict=True):
        launch(attention, *pair)


def _checks() -> dict[str, Check]:
    attentions: tuple[AttentionName, ...] = ("temporal", "spatial")
    types: tuple[FloatPrecision, ...] = ("fp16", "bf16", "fp32")
    checks: dict[str, Check] = {}
    for attention in attentions:
        for dtype in types:
            name = f"{attention} {dtype} values"
            checks[name] = partial(check_values, attention=attention, dtype=dtype)
    for attention in attentions:
        for dtype in types[:2]:
            for batch in BATCHES:
                name = f"{attention} {dtype} batch {batch} speed"
                checks[name] = partial(measure_speed, attention=attention, dtype=dtype, batch=batch)
    return checks


CHECKS = _checks()
