"""Derive a kernel's constants, tile and grid from the shape of a `qkv`, without torch or Triton."""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from istvt.errors import UsageError
from istvt.records import FloatPrecision

AttentionName: TypeAlias = Literal["temporal", "spatial"]

ITEM_BYTES: dict[FloatPrecision, int] = {"fp16": 2, "bf16": 2, "fp32": 4}
LEAST_ROWS, MOST_ROWS = 3, 17  # the temporal row and 2 to 16 frames
MOST_HEAD_DIM = 128
MOST_GRID_YZ = 65535  # CUDA's limit on a grid's second and third axis
MOST_ROW_ITEMS = 2**31  # offsets within a row are 32 bits wide

VECTOR_BYTES = 16  # the widest load of one thread
MOST_WIDE_ROWS = 9  # with more, a thread holding 8 half-precision items of each row spills
TEMPORAL_WARPS = 2  # warps exchange nothing: small programs spread evenly at batch 1
NARROW_HEAD_DIM = 64  # wider heads would leave too few registers for a block of queries
LEAST_DOT = 16  # least size of any axis in tl.dot


@dataclass(frozen=True)
class KernelSpec:
    """Everything that determines a kernel's code; batch and number of columns do not.

    Attributes:
        attention: over time or over space.
        num_rows: T+1.
        num_heads: h.
        head_dim: d, from 1 to 128; powers of two waste nothing, and vector loads need a multiple
            of 8 (fp32: of 4).
        dtype: type of `qkv` and of the mixed values; sums are in fp32.

    Raises:
        UsageError: a field is out of range; the message names it, its value and its range.
    """

    attention: AttentionName
    num_rows: int
    num_heads: int
    head_dim: int
    dtype: FloatPrecision

    def __post_init__(self) -> None:
        if self.attention not in ("temporal", "spatial"):
            raise UsageError(f"attention is {self.attention!r}: expected temporal or spatial")
        if self.dtype not in ITEM_BYTES:
            raise UsageError(f"dtype is {self.dtype!r}: expected one of {', '.join(ITEM_BYTES)}")
        _check_range("num_rows (T+1)", self.num_rows, LEAST_ROWS, MOST_ROWS)
        _check_range("num_heads", self.num_heads, 1, MOST_GRID_YZ)
        _check_range("head_dim", self.head_dim, 1, MOST_HEAD_DIM)

    @property
    def constants(self) -> dict[str, int]:
        """Values compiled into the kernel, by argument name."""
        shape = {"HEADS": self.num_heads, "HEAD_DIM": self.head_dim, "DIM": self._padded_dim}
        if self.attention == "temporal":
            return {"ROWS": self.num_rows, **shape, "PAIRS": self._pairs}
        queries, keys = self._spatial_tile
        return {**shape, "QUERIES": queries, "KEYS": keys}

    @property
    def options(self) -> dict[str, Any]:
        """Triton's compile options. Two stages: the next keys load while these are in use."""
        warps = TEMPORAL_WARPS if self.attention == "temporal" else self._spatial_warps
        return {"num_warps": warps, "num_stages": 2, "enable_fp_fusion": True}

    def grid(self, batch: Any, num_columns: Any) -> tuple[Any, Any, Any]:
        """Count the programs using only `+ - * //`, so that sizes may be symbolic."""
        if self.attention == "temporal":
            return _blocks(num_columns * self.num_heads, self._pairs), batch, 1
        queries, _ = self._spatial_tile
        return _blocks(num_columns, queries), self.num_heads, batch * self.num_rows

    def check_size(self, batch: int, num_columns: int) -> None:
        """Check that the grid and the offsets can hold these sizes.

        Raises:
            UsageError: a size is out of range; the message names it and its limit.
        """
        _check_range("batch * rows", batch * self.num_rows, 1, MOST_GRID_YZ)
        inner_dim = self.num_heads * self.head_dim
        _check_range("num_columns", num_columns, 1, MOST_ROW_ITEMS // (3 * inner_dim) - 128)

    @property
    def _padded_dim(self) -> int:
        least = 1 if self.attention == "temporal" else LEAST_DOT
        return max(least, 1 << (self.head_dim - 1).bit_length())

    @property
    def _pairs(self) -> int:
        """(column, head) pairs per program, chosen so that a thread holds one load of each row."""
        narrow = ITEM_BYTES[self.dtype] == 2 and self.num_rows > MOST_WIDE_ROWS
        items = VECTOR_BYTES // ITEM_BYTES[self.dtype] // (2 if narrow else 1)
        threads = 32 * TEMPORAL_WARPS
        return max(1, threads * min(items, self._padded_dim) // self._padded_dim)

    @property
    def _spatial_tile(self) -> tuple[int, int]:
        """Queries and keys per step; fewer for wide heads and for fp32, without tensor cores."""
        if self.dtype == "fp32":
            return 32, 16
        if self.head_dim > NARROW_HEAD_DIM:
            return 64, 32
        return 128, 64 if self.head_dim <= NARROW_HEAD_DIM // 2 else 32  # 16 bytes per thread

    @property
    def _spatial_warps(self) -> int:
        return 4 if self.dtype == "fp32" or self.head_dim > NARROW_HEAD_DIM else 8


def _blocks(items: Any, block: int) -> Any:
    return (items + (block - 1)) // block


def _check_range(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise UsageError(f"{name} is {value}: expected {least} to {most}")
