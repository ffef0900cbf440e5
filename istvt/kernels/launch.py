"""Launch the attention kernel that fits a `qkv` tensor.

On a CUDA device the kernel is compiled at its first call. CPU tensors work too if
`TRITON_INTERPRET=1` is set before this module is imported.
"""

from contextlib import nullcontext

import torch
from torch import Tensor

from istvt.errors import UsageError
from istvt.kernels.source import triton_kernel
from istvt.kernels.spec import AttentionName, KernelSpec
from istvt.records import FloatPrecision

DTYPES: dict[torch.dtype, FloatPrecision] = {
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.float32: "fp32",
}


def check_layout(qkv: Tensor) -> None:
    """Check that `qkv` is `(B, T+1, N, 3, heads, head_dim)`.

    Raises:
        UsageError: it has another layout.
    """
    if qkv.dim() != 6 or qkv.shape[3] != 3:
        raise UsageError(f"qkv is {tuple(qkv.shape)}: expected (B, T+1, N, 3, heads, head_dim)")


def spec_of(attention: AttentionName, qkv: Tensor) -> KernelSpec:
    """Return the spec of the kernel that fits a tensor.

    Raises:
        UsageError: the layout is wrong, or no kernel takes this size or dtype.
    """
    check_layout(qkv)
    if qkv.dtype not in DTYPES:
        raise UsageError(f"qkv is {qkv.dtype}: the kernels take float16, bfloat16 and float32")
    batch, num_rows, num_columns, _, num_heads, head_dim = qkv.shape
    spec = KernelSpec(attention, num_rows, num_heads, head_dim, DTYPES[qkv.dtype])
    spec.check_size(batch, num_columns)
    return spec


def launch(attention: AttentionName, qkv: Tensor, mixed: Tensor) -> None:
    """Write the mixed values into `mixed`.

    Args:
        attention: over time or over space.
        qkv: `(B, T+1, N, 3, heads, head_dim)`, contiguous.
        mixed: `(B, T+1, N, heads * head_dim)`, contiguous, with the same dtype and device; every
            value is overwritten.

    Raises:
        UsageError: the tensors do not match each other, or fit no kernel.
        MissingExtraError: Triton is not installed.
    """
    spec = spec_of(attention, qkv)
    batch, num_rows, num_columns, _, num_heads, head_dim = qkv.shape
    shape = (batch, num_rows, num_columns, num_heads * head_dim)
    if mixed.shape != shape or mixed.dtype != qkv.dtype or mixed.device != qkv.device:
        raise UsageError(
            f"the result is {tuple(mixed.shape)} {mixed.dtype} on {mixed.device}: "
            f"expected {shape} {qkv.dtype} on {qkv.device}"
        )
    if not (qkv.is_contiguous() and mixed.is_contiguous()):
        raise UsageError("qkv and the result must be contiguous")
    kernel = triton_kernel(attention)
    with torch.cuda.device(qkv.device) if qkv.is_cuda else nullcontext():
        kernel[spec.grid(batch, num_columns)](
            qkv, num_columns, mixed, **spec.constants, **spec.options
        )
