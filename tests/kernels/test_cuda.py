"""Both kernels where they belong: compiled, on a GPU, against the formula in fp64."""

import pytest
import torch

from istvt.kernels.launch import launch
from istvt.kernels.ops import spatial_attention, temporal_attention
from istvt.models.istvt.attention import attend_over_space, attend_over_time
from tests.kernels.worker import Case, check_outcome, run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA device"),
]

# The second is odd: pointers that are not aligned take another variant of the kernel.
GUARDS = [pytest.param(1 << 20, id="aligned"), pytest.param((1 << 20) + 1, id="unaligned")]


@pytest.mark.parametrize("guard_items", GUARDS)
@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("attention", ["temporal", "spatial"])
def test_values_of_the_batches_that_are_timed(
    attention: str, dtype: str, batch: int, guard_items: int
) -> None:
    case = Case(attention, batch, 7, 362, 8, 64, dtype)
    check_outcome(case, run(case, device="cuda", guard_items=guard_items))


@pytest.mark.parametrize("guard_items", GUARDS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("attention", ["temporal", "spatial"])
@pytest.mark.parametrize(
    ("num_rows", "num_columns", "num_heads", "head_dim"),
    [(7, 362, 8, 64), (17, 362, 8, 64), (3, 37, 4, 32), (10, 129, 3, 24), (7, 5, 2, 128)],
)
def test_values(
    attention: str,
    num_rows: int,
    num_columns: int,
    num_heads: int,
    head_dim: int,
    dtype: str,
    guard_items: int,
) -> None:
    case = Case(attention, 2, num_rows, num_columns, num_heads, head_dim, dtype)
    check_outcome(case, run(case, device="cuda", guard_items=guard_items))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("fill", ["steep", "largest", "denormal", "zero", "equal_rows"])
@pytest.mark.parametrize("attention", ["temporal", "spatial"])
def test_extreme_values(attention: str, fill: str, dtype: str) -> None:
    case = Case(attention, 2, 7, 70, 3, 64, dtype, fill)
    check_outcome(case, run(case, device="cuda", guard_items=1 << 20))


@pytest.mark.parametrize(
    ("attention", "formula"), [("temporal", attend_over_time), ("spatial", attend_over_space)]
)
def test_offsets_beyond_32_bits(attention: str, formula: object) -> None:
    """The last of 600 windows starts at item 2.3e9: 4.7 GB of input."""
    if torch.cuda.mem_get_info()[0] < 8 << 30:
        pytest.skip("needs 8 GiB of free device memory")
    qkv = torch.empty(600, 7, 362, 3, 8, 64, dtype=torch.float16, device="cuda").normal_()
    mixed = torch.full((600, 7, 362, 512), torch.nan, dtype=torch.float16, device="cuda")
    launch(attention, qkv, mixed)  # type: ignore[arg-type]
    expected = formula(qkv[-1:].cpu().double())  # type: ignore[operator]
    torch.testing.assert_close(mixed[-1:].cpu().double(), expected, rtol=1e-2, atol=1e-2)
    assert not mixed.isnan().any()


@pytest.mark.parametrize(
    ("op", "formula"),
    [(temporal_attention, attend_over_time), (spatial_attention, attend_over_space)],
)
def test_gradients(op: object, formula: object) -> None:
    qkv = torch.randn(2, 7, 37, 3, 2, 32, device="cuda", requires_grad=True)
    weights = torch.randn(2, 7, 37, 64, device="cuda")
    (given,) = torch.autograd.grad((op(qkv) * weights).sum(), qkv)  # type: ignore[operator]
    (expected,) = torch.autograd.grad((formula(qkv) * weights).sum(), qkv)  # type: ignore[operator]
    torch.testing.assert_close(given, expected, rtol=1e-3, atol=1e-4)
