"""Attend over the columns of each row in a Triton kernel that stores no matrix of weights.

A program takes a block of one head's queries in one row. It passes once over all keys and values,
read directly from the projection's output, and updates maximum and sum as it proceeds.
Importing this module requires Triton; `source` checks for it.

Source: Dao et al., FlashAttention, NeurIPS 2022 (the running softmax).
"""

# mypy: disable-error-code="assignment,no-untyped-def,untyped-decorator"
# What Triton compiles is Python in form only.

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit(do_not_specialize=["num_columns"])
def spatial_attention_kernel(
    qkv,
    num_columns,
    mixed,
    HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    DIM: tl.constexpr,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
):
    """Mix the values of each row.

    Args:
        qkv: `(B, T+1, num_columns, 3, HEADS, HEAD_DIM)`, contiguous.
        num_columns: N.
        mixed: `(B, T+1, num_columns, HEADS * HEAD_DIM)`, contiguous; written.
        HEADS: h.
        HEAD_DIM: d.
        DIM: `HEAD_DIM`, padded to a power of two from 16.
        QUERIES: columns that one program computes.
        KEYS: columns that it reads per step.
    """
    inner: tl.constexpr = HEADS * HEAD_DIM
    first_column = tl.program_id(2).to(tl.int64) * num_columns
    head = tl.program_id(1) * HEAD_DIM
    source = qkv + first_column * (3 * inner) + head
    column = tl.program_id(0) * QUERIES + tl.arange(0, QUERIES)
    dim = tl.arange(0, DIM)
    in_head = (dim < HEAD_DIM)[None, :]
    mask = (column < num_columns)[:, None] & in_head
    query = tl.load(source + column[:, None] * (3 * inner) + dim[None, :], mask=mask, other=0)

    scale: tl.constexpr = LOG2_E * HEAD_DIM**-0.5
    top = tl.full((QUERIES,), float("-inf"), tl.float32)
    total = tl.zeros((QUERIES,), tl.float32)
    out = tl.zeros((QUERIES, DIM), tl.float32)
    for first in tl.range(0, num_columns, KEYS):
        other = first + tl.arange(0, KEYS)
        in_row = other < num_columns
        place = source + other[:, None] * (3 * inner) + dim[None, :]
        key = tl.load(place + inner, mask=in_row[:, None] & in_head, other=0)
        value = tl.load(place + 2 * inner, mask=in_row[:, None] & in_head, other=0)
        logits = tl.dot(query, tl.trans(key), input_precision="ieee")
        logits = tl.where(in_row[None, :], logits, float("-inf"))
        # Subtract before scaling: rounding can leave the scaled maximum far below its exact value.
        higher = tl.maximum(top, tl.max(logits, axis=1))
        weights = tl.exp2((logits - higher[:, None]) * scale)
        shrink = tl.exp2((top - higher) * scale)
        top = higher
        total = total * shrink + tl.sum(weights, axis=1)
        weights = weights.to(value.dtype)
        out = tl.dot(weights, value, out * shrink[:, None], input_precision="ieee")

    target = mixed + first_column * inner + head + column[:, None] * inner + dim[None, :]
    tl.store(target, (out / total[:, None]).to(mixed.dtype.element_ty), mask=mask)
