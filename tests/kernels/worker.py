"""One call of a kernel, checked: interpreted on the CPU (TRITON_INTERPRET=1), or on CUDA."""

import ctypes
import mmap
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

GUARD = 257  # items before and behind each tensor; odd, so that the tensors are not aligned
SENTINEL = 3.0
PROT_NONE = 0

# Of the result; the spatial kernel also rounds its weights for the tensor cores.
ROUNDINGS = {"temporal": 0.6, "spatial": 1.6}
FP32_TOLERANCE = 2e-6


@dataclass(frozen=True)
class Case:
    """One call: what fills `qkv` is in the tests, by name."""

    attention: str
    batch: int
    num_rows: int
    num_columns: int
    num_heads: int
    head_dim: int
    dtype: str = "float16"
    fill: str = "normal"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.batch, self.num_rows, self.num_columns, 3, self.num_heads, self.head_dim)


@dataclass(frozen=True)
class Outcome:
    """Everything in fp64, so that it can leave the process."""

    given: NDArray[np.float64]
    expected: NDArray[np.float64]
    guards_untouched: bool
    input_untouched: bool


def interpret(case: Case) -> Outcome:
    """Run a kernel in Triton's interpreter."""
    mend_bfloat16()
    return run(case, guard_items=GUARD)


def run(
    case: Case,
    *,
    device: str = "cpu",
    guard_items: int,
    start: Callable[[Any, Tensor, Tensor], object] | None = None,
) -> Outcome:
    """Run a kernel between guards, onto a result full of NaN, and the formula in fp64.

    Args:
        case: what is computed.
        device: where.
        guard_items: before and behind each tensor.
        start: is told attention, `qkv` and the result; our own launch where None.
    """
    from istvt.kernels.launch import launch
    from istvt.models.istvt.attention import attend_over_space, attend_over_time

    dtype = getattr(torch, case.dtype)
    around = (guard_items, device)
    source, qkv = guarded(case.shape, dtype, torch.nan, *around)  # read by mistake, it shows
    qkv.copy_(filled(case).to(dtype))
    before = source.clone()
    shape = (*case.shape[:3], case.num_heads * case.head_dim)
    target, mixed = guarded(shape, dtype, SENTINEL, *around)
    mixed.fill_(torch.nan)
    (start or launch)(case.attention, qkv, mixed)
    attend = attend_over_time if case.attention == "temporal" else attend_over_space
    guards = torch.cat([target[:guard_items], target[-guard_items:]])
    return Outcome(
        given=mixed.double().cpu().numpy(),
        expected=attend(qkv.cpu().double()).numpy(),
        guards_untouched=bool((guards == SENTINEL).all()),
        input_untouched=torch.equal(bits(source), bits(before)),
    )


def check_outcome(case: Case, outcome: Outcome) -> None:
    assert outcome.guards_untouched
    assert outcome.input_untouched
    assert not np.isnan(outcome.given).any()
    assert np.abs(outcome.given - outcome.expected).max() <= tolerance(case, outcome.expected)


def tolerance(case: Case, expected: NDArray[np.float64]) -> float:
    """So much may a value be off; steps between subnormal numbers do not shrink further."""
    limits = torch.finfo(getattr(torch, case.dtype))
    largest = max(float(np.abs(expected).max()), limits.tiny)
    if case.dtype == "float32":
        steepness = 100 if case.fill == "steep" else 1  # logits are that much larger than 1
        return FP32_TOLERANCE * steepness * largest
    return ROUNDINGS[case.attention] * limits.eps * largest


def run_before_forbidden_memory(case: Case) -> None:
    """Run a kernel on tensors that end where the process may not read: one item more kills it."""
    from istvt.kernels.launch import launch

    qkv = before_forbidden_memory(case.shape).copy_(filled(case))
    mixed = before_forbidden_memory((*case.shape[:3], case.num_heads * case.head_dim))
    launch(case.attention, qkv, mixed)


def before_forbidden_memory(shape: tuple[int, ...]) -> Tensor:
    """An fp32 tensor with a page behind it that may not be touched."""
    num_bytes = 4 * int(np.prod(shape))
    allowed = -(-num_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, allowed + mmap.PAGESIZE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(start + allowed), mmap.PAGESIZE, PROT_NONE):
        raise OSError(ctypes.get_errno(), "mprotect")
    offset = allowed - num_bytes
    return torch.frombuffer(memory, dtype=torch.float32, count=num_bytes // 4, offset=offset).view(
        shape
    )


def guarded(
    shape: tuple[int, ...], dtype: torch.dtype, guard: float, guard_items: int, device: str
) -> tuple[Tensor, Tensor]:
    """A buffer full of `guard`, and a tensor in its middle."""
    items = int(np.prod(shape))
    buffer = torch.full((items + 2 * guard_items,), guard, dtype=dtype, device=device)
    return buffer, buffer[guard_items:-guard_items].view(shape)


def bits(tensor: Tensor) -> Tensor:
    return tensor.view(torch.int16 if tensor.element_size() == 2 else torch.int32)


def filled(case: Case) -> Tensor:
    torch.manual_seed(0)
    normal = torch.randn(case.shape)
    match case.fill:
        case "normal":
            return normal
        case "steep":  # logits in the hundreds: nearly every weight is 0 or 1
            return normal * 12
        case "largest":
            return largest(normal.sign(), getattr(torch, case.dtype))
        case "denormal":
            least = torch.finfo(getattr(torch, case.dtype)).smallest_normal
            return normal.clamp(-1, 1) * least
        case "zero":
            return torch.zeros(case.shape)
        case "equal_rows":  # every later query and key is a difference of 0
            return normal[:, :1].expand(case.shape)
    raise ValueError(case.fill)


def largest(signs: Tensor, dtype: torch.dtype) -> Tensor:
    """Queries and keys whose products are exact in fp32 and near its end, and large values.

    Values in fp16 are the largest finite ones; others leave room for the sum over a row.
    """
    factor, value = (2.0**15, 65504.0) if dtype == torch.float16 else (2.0**55, 2.0**117)
    scale = torch.tensor([factor, factor, value]).view(3, 1, 1)
    return signs * scale


@cache
def mend_bfloat16() -> None:
    """Let the interpreter compute with bf16 as a GPU does.

    Triton 3.9 multiplies matrices of bf16 bits as integers, misreads subnormal numbers and cuts
    off instead of rounding.
    """
    import triton.language as tl
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    plain_dot, plain_cast = InterpreterBuilder.create_dot, InterpreterBuilder.cast_impl

    def cast(self: Any, source: Any, target: Any, *rounding: Any) -> Any:
        match source.dtype.scalar, target.scalar:
            case tl.bfloat16, tl.float32:
                data = (source.data.astype(np.uint32) << 16).view(np.float32)
            case tl.float32, tl.bfloat16:
                rounded = torch.from_numpy(np.ascontiguousarray(source.data)).bfloat16()
                data = rounded.view(torch.int16).numpy().view(np.uint16)
            case _:
                return plain_cast(self, source, target)
        return TensorHandle(data, target.scalar)

    def dot(self: Any, a: Any, b: Any, *rest: Any) -> Any:
        if a.dtype.scalar == tl.bfloat16:
            a, b = cast(self, a, tl.float32), cast(self, b, tl.float32)
        return plain_dot(self, a, b, *rest)

    InterpreterBuilder.cast_impl = InterpreterBuilder.create_fp_to_fp = cast
    InterpreterBuilder.create_dot = dot
