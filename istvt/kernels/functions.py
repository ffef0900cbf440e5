"""Define the ONNX functions `istvt::SelfSubtractAttention` and `istvt::SpatialAttention`.

Each is a node of ours with a body of standard operators. A runtime that does not know the node
inlines the body; a TensorRT plugin of the same name replaces the node. The bodies fix no data type
and no size, so that they serve both fp32 and fp16.
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
SPATIAL_ATTENTION = "SpatialAttention"
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


@script(Opset(DOMAIN, DOMAIN_VERSION), default_opset=op)
def SpatialAttention(qkv):  # type: ignore[no-untyped-def]
    free = op.Constant(value_ints=[-1])
    rows = op.Reshape(qkv, op.Concat(free, op.Shape(qkv, start=2), axis=0))
    columns_first = op.Transpose(rows, perm=[2, 0, 3, 1, 4])  # (3, B*(T+1), heads, N, head_dim)
    queries = op.Gather(columns_first, op.Constant(value_int=0), axis=0)
    keys = op.Gather(columns_first, op.Constant(value_int=1), axis=0)
    values = op.Gather(columns_first, op.Constant(value_int=2), axis=0)
    mixed = op.Transpose(op.Attention(queries, keys, values), perm=[0, 2, 1, 3])
    return op.Reshape(mixed, op.Concat(op.Shape(qkv, end=3), free, axis=0))


def self_subtract_attention_node(qkv: Tensor) -> Tensor:
    """Replace `attend_over_time` during export; emits the node without its body."""
    return _node(SELF_SUBTRACT_ATTENTION, qkv)


def spatial_attention_node(qkv: Tensor) -> Tensor:
    """Replace `attend_over_space` during export; emits the node without its body."""
    return _node(SPATIAL_ATTENTION, qkv)


def _node(name: str, qkv: Tensor) -> Tensor:
    batch, rows, columns, _, heads, head_dim = qkv.shape
    return torch.onnx.ops.symbolic(
        f"{DOMAIN}::{name}",
        (qkv,),
        dtype=qkv.dtype,
        shape=(batch, rows, columns, heads * head_dim),
        version=DOMAIN_VERSION,
    )


def append_bodies(graph: onnx.ModelProto) -> None:
    """Add the bodies of our nodes to the graph, in place."""
    del graph.functions[:]
    graph.functions.extend(
        body.to_function_proto() for body in (SelfSubtractAttention, SpatialAttention)
    )


def inline_bodies(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of the graph in which every node of ours is replaced by its body."""
    return onnx.inliner.inline_local_functions(graph)
