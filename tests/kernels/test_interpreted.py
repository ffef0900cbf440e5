"""Both kernels, interpreted on the CPU, against the model's formula in fp64.

Every call runs between guards and onto a result full of NaN.
"""

import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.kernels.worker import (
    Case,
    Outcome,
    check_outcome,
    interpret,
    run_before_forbidden_memory,
)

Run = Callable[..., Outcome]

TEMPORAL = Case("temporal", batch=2, num_rows=4, num_columns=13, num_heads=3, head_dim=16)
SPATIAL = Case("spatial", batch=1, num_rows=3, num_columns=70, num_heads=1, head_dim=16)


def check(interpreted: Run, case: Case) -> None:
    check_outcome(case, interpreted(interpret, case))


@pytest.mark.parametrize("num_frames", range(2, 17))
def test_temporal_takes_every_length_of_window(interpreted: Run, num_frames: int) -> None:
    check(interpreted, replace(TEMPORAL, batch=1, num_heads=1, num_rows=num_frames + 1))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize(
    ("num_columns", "num_heads", "head_dim"),
    [(1, 1, 1), (3, 3, 64), (5, 3, 24), (67, 1, 8), (3, 1, 128), (1, 5, 33)],
)
def test_temporal_takes_shapes_that_fill_no_block(
    interpreted: Run, num_columns: int, num_heads: int, head_dim: int, dtype: str
) -> None:
    case = Case("temporal", 1, 4, num_columns, num_heads, head_dim, dtype)
    check(interpreted, case)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize(
    ("num_columns", "num_heads", "head_dim"),
    [(1, 1, 1), (15, 2, 64), (32, 1, 32), (129, 2, 8), (141, 1, 24), (65, 1, 128), (7, 3, 33)],
)
def test_spatial_takes_shapes_that_fill_no_block(
    interpreted: Run, num_columns: int, num_heads: int, head_dim: int, dtype: str
) -> None:
    check(interpreted, Case("spatial", 1, 3, num_columns, num_heads, head_dim, dtype))


@pytest.mark.parametrize("case", [TEMPORAL, SPATIAL], ids=lambda case: case.attention)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("fill", ["steep", "largest", "denormal", "zero", "equal_rows"])
def test_extreme_values(interpreted: Run, case: Case, fill: str, dtype: str) -> None:
    check(interpreted, replace(case, fill=fill, dtype=dtype))


def test_temporal_at_the_papers_shape_in_small(interpreted: Run) -> None:
    check(interpreted, Case("temporal", 1, 7, 2, 8, 64))


@pytest.mark.parametrize("case", [TEMPORAL, SPATIAL], ids=lambda case: case.attention)
def test_batches_and_rows_keep_apart(interpreted: Run, case: Case) -> None:
    check(interpreted, replace(case, batch=4, num_columns=2))


@pytest.mark.skipif(sys.platform != "linux", reason="protects memory with Linux's mprotect")
@pytest.mark.parametrize("case", [TEMPORAL, SPATIAL], ids=lambda case: case.attention)
def test_nothing_behind_the_input_is_read(interpreted: Run, case: Case) -> None:
    interpreted(run_before_forbidden_memory, case)
