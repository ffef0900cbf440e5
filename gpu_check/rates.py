"""A GPU in, the rates that the rest is held against out: copies and matrix products."""

import statistics
from functools import partial

from gpu_check.check import Check
from gpu_check.clock import Work, make_clock, queue_several, take_turns
from gpu_check.machine import require_bf16
from gpu_check.result import Outcome, Settings
from istvt.extras import require
from istvt.records import FloatPrecision

COPIED_BYTES = {"cuda": 1 << 30, "cpu": 1 << 24}  # well beyond any cache
MATRIX_SIZE = {"cuda": 8192, "cpu": 256}
TORCH_NAMES: dict[FloatPrecision, str] = {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32"}


def measure_copy(settings: Settings) -> Outcome:
    """Copy within the device's memory; each byte counts twice, read and written."""
    copy, moved = large_copy(settings)
    times_ms = take_turns(
        {"copy": copy}, make_clock(settings.device).device_ms, seconds=settings.seconds
    )["copy"]
    return Outcome({"gb_per_s": moved / statistics.median(times_ms) / 1e6})


def large_copy(settings: Settings) -> tuple[Work, int]:
    """Give a copy that no cache holds, and the bytes that it reads and writes."""
    torch = require("torch", extra="gpu")
    num_bytes = COPIED_BYTES[settings.device]
    source = torch.zeros(num_bytes, dtype=torch.uint8, device=settings.device)
    target = torch.ones_like(source)
    return lambda: target.copy_(source), 2 * num_bytes


def measure_products(settings: Settings, *, dtype: FloatPrecision) -> Outcome:
    """Multiply square matrices, and those of the model's widest layer at batch 8."""
    require_bf16(settings, dtype)
    preset = settings.preset
    rows = 8 * (preset.num_frames + 1) * (preset.num_patches + 1)
    return Outcome(
        {
            "tflop_per_s": product_rate(settings, dtype),
            "mlp_shape_tflop_per_s": product_rate(
                settings, dtype, (rows, preset.embed_dim, preset.mlp_ratio * preset.embed_dim)
            ),
        }
    )


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


CHECKS: dict[str, Check] = {
    "copy": measure_copy,
    "products fp16": partial(measure_products, dtype="fp16"),
    "products bf16": partial(measure_products, dtype="bf16"),
}
