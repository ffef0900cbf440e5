"""Compare an attention kernel's time with that of a copy of the same bytes."""

import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, cast

from gpu_check.clock import Clock, Work, make_clock, median_ratio, queue_several, take_turns
from gpu_check.subject import TORCH_NAMES, Settings, require_bf16
from gpu_check.table import OF_COPY, Row
from istvt.extras import require
from istvt.kernels.spec import ITEM_BYTES, AttentionName, KernelSpec
from istvt.presets import ModelPreset
from istvt.records import FloatPrecision

if TYPE_CHECKING:
    from torch import Tensor

COPIES = ("copy", "large copy")
COPIED_BYTES = {"cuda": 1 << 30, "cpu": 1 << 24}  # well beyond any cache
# All buffers of one kind together; no cache of a GPU holds so much.
ROTATING_BYTES = {"cuda": 512 << 20, "cpu": 1 << 20}
ROUNDINGS = 2.0  # of the largest value; the tests of the kernels allow less


def launch(attention: AttentionName, qkv: "Tensor", mixed: "Tensor") -> None:
    """Start the kernel; a rehearsal on a CPU takes the formula, with sums in fp32 as it has."""
    if qkv.is_cuda:
        from istvt.kernels.launch import launch as launch_kernel

        launch_kernel(attention, qkv, mixed)
    else:
        mixed.copy_(formula_of(attention)(qkv.float()))


def measure_kernel(settings: Settings, row: Row) -> Row:
    """Time the kernel, the formula, a copy of the same bytes, and a large one, in turns.

    Each is called on one buffer after the other, until caches cannot hold them, and all of that as
    one CUDA graph, replayed until no time of launches counts. The kernel is compared with the
    faster of both copies: pieces of this size may be too small for all of the memory's rate. What
    it computed while it was timed must be right.
    """
    torch = require("torch", extra="gpu")
    attention, dtype = cast(AttentionName, row.subject), cast(FloatPrecision, row.dtype)
    require_bf16(settings.device, dtype)
    if settings.device == "cuda":
        require("triton", extra="gpu")
    spec, num_columns = spec_of(settings.preset, attention, dtype)
    moved = moved_bytes(spec, row.batch or 1, num_columns)
    count = max(2, math.ceil(ROTATING_BYTES[settings.device] / moved))
    kind = {"dtype": getattr(torch, TORCH_NAMES[dtype]), "device": settings.device}
    rows = (count, row.batch or 1, spec.num_rows, num_columns)
    qkv = torch.randn(*rows, 3, spec.num_heads, spec.head_dim, **kind)
    mixed = torch.full((*rows, spec.num_heads * spec.head_dim), torch.nan, **kind)
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
    worst = worst_error(attention, qkv[-1], mixed[-1])
    return replace(
        row,
        status="pass" if worst <= 1 else "fail",
        reason="" if worst <= 1 else f"values are off by {worst:.3g} times what is allowed",
        value=100 * min(median_ratio(times_us[name], times_us["ours"]) for name in COPIES),
        unit=OF_COPY,
        contender="ours",
        figures=_figures(times_us, moved) | {"worst_of_allowed": worst},
    )


def _figures(times_us: Mapping[str, list[float]], moved: int) -> dict[str, float]:
    medians_us = {name: statistics.median(found) for name, found in times_us.items()}
    return {
        "ours_us": medians_us["ours"],
        "pytorch_us": medians_us["formula"],
        "copy_us": medians_us["copy"],
        "ours_gb_per_s": moved / medians_us["ours"] / 1e3,
        "copy_gb_per_s": moved / medians_us["copy"] / 1e3,
        "large_copy_gb_per_s": moved / medians_us["large copy"] / 1e3,
        "times_pytorch": median_ratio(times_us["formula"], times_us["ours"]),
    }


def _time_bytes(
    works: Mapping[str, tuple[Work, int]], moved: int, clock: Clock, *, seconds: float
) -> dict[str, list[float]]:
    """Time works in turns, of which each moves so many bytes; give the µs for `moved` of them."""
    queued = {name: queue_several(work, clock) for name, (work, _) in works.items()}
    subjects = {name: work for name, (work, _) in queued.items()}
    times_ms = take_turns(subjects, clock.device_ms, seconds=seconds)
    shares = {name: moved / works[name][1] / calls for name, (_, calls) in queued.items()}
    return {name: [1e3 * ms * shares[name] for ms in times_ms[name]] for name in works}


def worst_error(attention: AttentionName, qkv: "Tensor", mixed: "Tensor") -> float:
    """Compare with the formula in fp64; give the largest error over what is allowed."""
    import torch

    expected = formula_of(attention)(qkv.cpu().double())
    allowed = ROUNDINGS * torch.finfo(mixed.dtype).eps * float(expected.abs().max())
    worst = float((mixed.cpu().double() - expected).abs().max())
    return worst / allowed if worst == worst else math.inf


def formula_of(attention: AttentionName) -> "Callable[[Tensor], Tensor]":
    """Give the model's own way to compute an attention."""
    from istvt.models.istvt.attention import attend_over_space, attend_over_time

    return attend_over_time if attention == "temporal" else attend_over_space


def spec_of(
    preset: ModelPreset, attention: AttentionName, dtype: FloatPrecision
) -> tuple[KernelSpec, int]:
    """Give the kernel of a preset, and its number of columns."""
    spec = KernelSpec(attention, preset.num_frames + 1, preset.num_heads, preset.head_dim, dtype)
    return spec, preset.num_patches + 1


def moved_bytes(spec: KernelSpec, batch: int, num_columns: int) -> int:
    """Count the bytes that must be read and written: three thirds of `qkv`, and one."""
    rows = batch * spec.num_rows * num_columns
    return 4 * rows * spec.num_heads * spec.head_dim * ITEM_BYTES[spec.dtype]


def large_copy(settings: Settings) -> tuple[Work, int]:
    """Give a copy that no cache holds, and the bytes that it reads and writes."""
    torch = require("torch", extra="gpu")
    num_bytes = COPIED_BYTES[settings.device]
    source = torch.zeros(num_bytes, dtype=torch.uint8, device=settings.device)
    target = torch.ones_like(source)
    return lambda: target.copy_(source), 2 * num_bytes


def _launch_each(attention: AttentionName, qkv: "Tensor", mixed: "Tensor") -> None:
    for pair in zip(qkv, mixed, strict=True):
        launch(attention, *pair)
