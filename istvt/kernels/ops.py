"""Register the attentions as `torch.ops.istvt.temporal_attention` and `.spatial_attention`.

On a CPU each op runs the model's own formula, on CUDA the Triton kernel. Both ops have a shape rule
(`torch.compile`, `torch.export`) and a gradient, so that training may use them:

    with fused_attention(model):
        logits = model(faces)
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from istvt.kernels.launch import check_layout, launch
from istvt.kernels.spec import AttentionName
from istvt.models.base import HasAttention
from istvt.models.istvt.attention import attend_over_space, attend_over_time


@torch.library.custom_op("istvt::temporal_attention", mutates_args=(), device_types="cpu")
def temporal_attention(qkv: Tensor) -> Tensor:
    """Compute `attend_over_time`.

    Args:
        qkv: `(B, T+1, N, 3, heads, head_dim)`; on CUDA fp16, bf16 or fp32, and T from 2 to 16.

    Returns:
        Mixed values `(B, T+1, N, heads * head_dim)`.

    Raises:
        UsageError: on CUDA, the kernel does not take this shape or dtype.
        MissingExtraError: on CUDA, Triton is not installed.
    """
    return attend_over_time(qkv).contiguous()


@torch.library.custom_op("istvt::spatial_attention", mutates_args=(), device_types="cpu")
def spatial_attention(qkv: Tensor) -> Tensor:
    """Compute `attend_over_space`; arguments and errors as in `temporal_attention`."""
    return attend_over_space(qkv).contiguous()


@temporal_attention.register_kernel("cuda")
def _temporal_on_cuda(qkv: Tensor) -> Tensor:
    return _launched("temporal", qkv)


@spatial_attention.register_kernel("cuda")
def _spatial_on_cuda(qkv: Tensor) -> Tensor:
    return _launched("spatial", qkv)


@temporal_attention.register_fake
@spatial_attention.register_fake
def _room_for_mixed(qkv: Tensor) -> Tensor:
    check_layout(qkv)
    batch, num_rows, num_columns, _, num_heads, head_dim = qkv.shape
    return qkv.new_empty(batch, num_rows, num_columns, num_heads * head_dim)


def _launched(attention: AttentionName, qkv: Tensor) -> Tensor:
    mixed = _room_for_mixed(qkv)
    launch(attention, qkv.contiguous(), mixed)
    return mixed


def _differentiate(op: Any, attend: Callable[[Tensor], Tensor]) -> None:
    """Register an op's gradient: that of its formula, recomputed from `qkv`."""

    def keep(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0])

    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (qkv,) = ctx.saved_tensors
        with torch.enable_grad():
            again = qkv.detach().requires_grad_()
            mixed = attend(again)
        (of_qkv,) = torch.autograd.grad(mixed, again, gradient)
        return of_qkv

    op.register_autograd(backward, setup_context=keep)


_differentiate(temporal_attention, attend_over_time)
_differentiate(spatial_attention, attend_over_space)


def fused_attention(model: HasAttention) -> AbstractContextManager[None]:
    """Run the model's attentions as these ops inside the block; weights stay unchanged."""
    return model.attention_kernels(temporal=temporal_attention, spatial=spatial_attention)
