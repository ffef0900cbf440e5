"""What a kernel may be, and what its launch looks like, without Triton."""

import pytest
import torch

from istvt.errors import UsageError
from istvt.kernels.launch import launch, spec_of
from istvt.kernels.spec import KernelSpec


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"attention": "joint"}, "attention is 'joint': expected temporal or spatial"),
        ({"dtype": "fp64"}, "dtype is 'fp64': expected one of fp16, bf16, fp32"),
        ({"num_rows": 2}, r"num_rows \(T\+1\) is 2: expected 3 to 17"),
        ({"num_rows": 18}, r"num_rows \(T\+1\) is 18: expected 3 to 17"),
        ({"num_heads": 0}, "num_heads is 0: expected 1 to 65535"),
        ({"head_dim": 129}, "head_dim is 129: expected 1 to 128"),
    ],
)
def test_what_no_kernel_takes_is_refused(changed: dict[str, object], message: str) -> None:
    fields = {"attention": "temporal", "num_rows": 7, "num_heads": 8, "head_dim": 64}
    with pytest.raises(UsageError, match=message):
        KernelSpec(**{**fields, "dtype": "fp16", **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize("attention", ["temporal", "spatial"])
@pytest.mark.parametrize(
    ("batch", "num_columns", "message"),
    [(9363, 1, "65541: expected 1 to 65535"), (1, 2_000_000, "2000000"), (0, 5, "0: expected 1")],
)
def test_sizes_beyond_the_grid_are_refused(
    attention: str, batch: int, num_columns: int, message: str
) -> None:
    spec = KernelSpec(attention, 7, 8, 64, "fp16")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=message):
        spec.check_size(batch, num_columns)


@pytest.mark.parametrize("dtype", ["fp16", "bf16", "fp32"])
@pytest.mark.parametrize("head_dim", [1, 7, 8, 24, 64, 100, 128])
@pytest.mark.parametrize("num_rows", [3, 9, 10, 17])
def test_temporal_tiles_are_powers_of_two_that_hold_the_head(
    num_rows: int, head_dim: int, dtype: str
) -> None:
    constants = KernelSpec("temporal", num_rows, 8, head_dim, dtype).constants  # type: ignore[arg-type]
    for name in ("DIM", "PAIRS"):
        assert constants[name] & (constants[name] - 1) == 0
    assert head_dim <= constants["DIM"] < 2 * head_dim


def test_a_tensor_of_a_dtype_without_kernel_is_refused() -> None:
    with pytest.raises(UsageError, match="float64: the kernels take float16, bfloat16"):
        spec_of("temporal", torch.empty(1, 7, 5, 3, 8, 64, dtype=torch.float64))


@pytest.mark.parametrize(
    ("mixed", "message"),
    [
        (torch.empty(1, 7, 5, 511), r"expected \(1, 7, 5, 512\) torch.float32"),
        (torch.empty(1, 7, 5, 512, dtype=torch.float16), "is .* torch.float16 on cpu: expected"),
        (torch.empty(1, 7, 5, 1024)[..., ::2], "must be contiguous"),
    ],
)
def test_a_result_that_does_not_fit_is_refused(mixed: torch.Tensor, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        launch("temporal", torch.empty(1, 7, 5, 3, 8, 64), mixed)
