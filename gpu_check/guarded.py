"""One call of an attention kernel between guards, and how far it is from the formula in fp64."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpu_check.rates import TORCH_NAMES
from istvt.kernels.spec import AttentionName, KernelSpec
from istvt.presets import ModelPreset

if TYPE_CHECKING:
    from torch import Tensor

GUARD_ITEMS, GUARD = 1 << 16, 3.0

# So many roundings of the largest value: the result's own, and in the spatial kernel also those of
# the weights for the tensor cores. In fp32 the sums count too.
ROUNDINGS: dict[AttentionName, float] = {"temporal": 0.6, "spatial": 1.6}
FP32_TOLERANCE = 2e-6


@dataclass(frozen=True)
class Case:
    """One call.

    Attributes:
        offset_items: by which both tensors are shifted from an aligned address.
    """

    spec: KernelSpec
    batch: int
    num_columns: int
    offset_items: int = 0


def worst_error(case: Case, launch: "Callable[[Tensor, Tensor], object]", *, device: str) -> float:
    """Run a kernel once onto a result full of NaN.

    Args:
        case: what is computed.
        launch: told `qkv` and the result.
        device: where.

    Returns:
        The largest error over what is allowed; infinite where something else was written.
    """
    import torch

    spec = case.spec
    dtype = getattr(torch, TORCH_NAMES[spec.dtype])
    inner = (spec.num_heads, spec.head_dim)
    rows = (case.batch, spec.num_rows, case.num_columns)
    _, qkv = _between_guards((*rows, 3, *inner), dtype, device, case.offset_items)
    generator = torch.Generator().manual_seed(0)
    qkv.copy_(torch.randn(qkv.shape, generator=generator).to(dtype))
    buffer, mixed = _between_guards(
        (*rows, spec.num_heads * spec.head_dim), dtype, device, case.offset_items
    )
    mixed.fill_(torch.nan)
    launch(qkv, mixed)
    first = GUARD_ITEMS + case.offset_items
    guards = torch.cat([buffer[:first], buffer[first + mixed.numel() :]])
    if not bool((guards == GUARD).all()):
        return float("inf")
    return _error(case, qkv.cpu().double(), mixed.cpu().double())


def tolerance(spec: KernelSpec, largest: float) -> float:
    """Say how far a value may be off, the largest being so large."""
    import torch

    if spec.dtype == "fp32":
        return FP32_TOLERANCE * largest
    eps = torch.finfo(getattr(torch, TORCH_NAMES[spec.dtype])).eps
    return ROUNDINGS[spec.attention] * eps * largest


def formula_of(attention: AttentionName) -> "Callable[[Tensor], Tensor]":
    """Give the model's own way to compute an attention."""
    from istvt.models.istvt.attention import attend_over_space, attend_over_time

    return attend_over_time if attention == "temporal" else attend_over_space


def shape_of(preset: ModelPreset) -> tuple[int, int, int, int]:
    """Give T+1, heads, head_dim and the columns of a preset."""
    return preset.num_frames + 1, preset.num_heads, preset.head_dim, preset.num_patches + 1


def _between_guards(
    shape: tuple[int, ...], dtype: object, device: str, offset_items: int
) -> "tuple[Tensor, Tensor]":
    import math

    import torch

    num_items = math.prod(shape)
    first = GUARD_ITEMS + offset_items
    buffer = torch.full((first + num_items + GUARD_ITEMS,), GUARD, dtype=dtype, device=device)  # type: ignore[call-overload]
    return buffer, buffer[first : first + num_items].view(shape)


def _error(case: Case, qkv: "Tensor", mixed: "Tensor") -> float:
    expected = formula_of(case.spec.attention)(qkv)
    allowed = tolerance(case.spec, float(expected.abs().max()))
    worst = float((mixed - expected).abs().max())
    return worst / allowed if worst == worst else float("inf")
