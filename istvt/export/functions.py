"""The ONNX function `istvt::SelfSubtractAttention`: our node with a body of standard operators.

A runtime that does not know the node inlines the body; a TensorRT plugin of the same name takes
the node's place. The body holds no data type and no fixed size, so that it serves fp32 and fp16.
"""

# ruff: noqa: D103  onnxscript reads these bodies as ONNX

import onnx
import onnx.inliner
import torch
from onnxscript import opset23 as op
from onnxscript import script
from onnxscript.values import Opset
from torch import Tensor

DOMAIN = "istvt"
DOMAIN_VERSION = 1
SELF_SUBTRACT_ATTENTION = "SelfSubtractAttention"
STANDARD_OPSET = 23


@script(Opset(DOMAIN, DOMAIN_VERSION), default_opset=op)
def SelfSubtractAttention(qkv):  # type: ignore[no-untyped-def]
    columns_first = op.Transpose(qkv, perm=[3, 0, 2, 4, 1, 5])  # (3, B, N, heads, T+1, head_dim)
    plain = op.Gather(columns_first, op.Constant(value_ints=[0, 1]), axis=0)
    kept = op.Slice(plain, [0], [2], [4])
    later = op.Slice(plain, [2], [9223372036854775807], [4])
    before = op.Slice(plain, [1], [-1], [4])
    moved = op.Concat(kept, op.Sub(later, before), axis=4)
    queries = op.Gather(moved, op.Constant(value_int=0), axis=0)
    keys = op.Gather(moved, op.Constant(value_int=1), axis=0)
    values = op.Gather(columns_first, op.Constant(value_int=2), axis=0)
    head_dim = op.Shape(qkv, start=5, end=6)
    scale = op.CastLike(op.Reciprocal(op.Sqrt(op.Cast(head_dim, to=1))), qkv)
    logits = op.MatMul(op.Mul(queries, scale), op.Transpose(keys, perm=[0, 1, 2, 4, 3]))
    mixed = op.MatMul(op.Softmax(logits, axis=-1), values)
    rows_first = op.Transpose(mixed, perm=[0, 3, 1, 2, 4])  # (B, T+1, N, heads, head_dim)
    return op.Reshape(rows_first, op.Constant(value_ints=[0, 0, 0, -1]))


def self_subtract_attention_node(qkv: Tensor) -> Tensor:
    """Stand for `attend_over_time` while exporting: emits the node without a body."""
    batch, rows, columns, _, heads, head_dim = qkv.shape
    return torch.onnx.ops.symbolic(
        f"{DOMAIN}::{SELF_SUBTRACT_ATTENTION}",
        (qkv,),
        dtype=qkv.dtype,
        shape=(batch, rows, columns, heads * head_dim),
        version=DOMAIN_VERSION,
    )


def append_bodies(graph: onnx.ModelProto) -> None:
    """Give the graph the bodies of our nodes, in place."""
    del graph.functions[:]
    graph.functions.append(SelfSubtractAttention.to_function_proto())


def inline_bodies(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Copy the graph with every node of ours replaced by its body."""
    return onnx.inliner.inline_local_functions(graph)
