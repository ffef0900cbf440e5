"""Compute self-subtract attention over the rows of each column in a Triton kernel.

A program takes a block of (column, head) pairs. Eight threads hold one pair's 64 dimensions, 16
bytes of every row each. All keys, already subtracted, and all values are loaded first and stay in
registers. Queries pass through one row at a time; the next row loads while this one is in use.
Nothing passes through shared memory. Importing this module requires Triton; `source` checks for it.
"""

# mypy: disable-error-code="assignment,no-untyped-def,untyped-decorator"
# What Triton compiles is Python in form only.

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit(do_not_specialize=["num_columns"])
def temporal_attention_kernel(
    qkv,
    num_columns,
    mixed,
    ROWS: tl.constexpr,
    HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    DIM: tl.constexpr,
    PAIRS: tl.constexpr,
):
    """Mix the values of each column by self-subtracted queries and keys.

    Args:
        qkv: `(B, ROWS, num_columns, 3, HEADS, HEAD_DIM)`, contiguous.
        num_columns: N.
        mixed: `(B, ROWS, num_columns, HEADS * HEAD_DIM)`, contiguous; written.
        ROWS: T+1.
        HEADS: h.
        HEAD_DIM: d.
        DIM: `HEAD_DIM`, padded to a power of two.
        PAIRS: (column, head) pairs per program.
    """
    inner: tl.constexpr = HEADS * HEAD_DIM
    pair = tl.program_id(0) * PAIRS + tl.arange(0, PAIRS)
    dim = tl.arange(0, DIM)
    mask = (pair < num_columns * HEADS)[:, None] & (dim < HEAD_DIM)[None, :]
    row_items = num_columns.to(tl.int64) * inner
    first_row = tl.program_id(1).to(tl.int64) * ROWS * row_items
    place = (pair // HEADS * (3 * inner) + pair % HEADS * HEAD_DIM)[:, None] + dim[None, :]
    source = qkv + 3 * first_row + place
    target = mixed + first_row + (pair * HEAD_DIM)[:, None] + dim[None, :]

    keys = ()
    values = ()
    before = tl.zeros((PAIRS, DIM), tl.float32)
    for row in tl.static_range(ROWS):
        key = tl.load(source + row * 3 * row_items + inner, mask=mask, other=0).to(tl.float32)
        keys += (key - before,)
        values += (tl.load(source + row * 3 * row_items + 2 * inner, mask=mask, other=0),)
        if row >= 1:
            before = key

    # Rows 0 and 1 are kept. Unrolling the loop over the rest would make the code four times as long
    # and save no registers.
    scale: tl.constexpr = LOG2_E * HEAD_DIM**-0.5
    plain = tl.load(source, mask=mask, other=0).to(tl.float32)
    following = tl.load(source + 3 * row_items, mask=mask, other=0)
    out = _mix(plain, keys, values, ROWS, scale)
    tl.store(target, out.to(mixed.dtype.element_ty), mask=mask)
    before = tl.zeros((PAIRS, DIM), tl.float32)
    for row in tl.range(1, ROWS):
        plain = following.to(tl.float32)
        behind = source + (row + 1) * 3 * row_items
        following = tl.load(behind, mask=mask & (row + 1 < ROWS), other=0)
        out = _mix(plain - before, keys, values, ROWS, scale)
        tl.store(target + row * row_items, out.to(mixed.dtype.element_ty), mask=mask)
        before = plain


@triton.jit
def _mix(query, keys, values, ROWS: tl.constexpr, SCALE: tl.constexpr):
    """Return the weighted mean of the values for one row of queries `(PAIRS, DIM)`, in fp32."""
    logits = ()
    top = tl.full((query.shape[0],), float("-inf"), tl.float32)
    for row in tl.static_range(ROWS):
        logit = tl.sum(query * keys[row], axis=1)
        logits += (logit,)
        top = tl.maximum(top, logit)
    total = tl.zeros_like(top)
    out = tl.zeros_like(query)
    for row in tl.static_range(ROWS):
        # Subtract before scaling: rounding can leave the scaled maximum far below its exact value.
        weight = tl.exp2((logits[row] - top) * SCALE)
        total += weight
        out += weight[:, None] * values[row].to(tl.float32)
    return out * (1 / total)[:, None]
