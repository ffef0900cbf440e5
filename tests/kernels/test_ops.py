"""The torch operators on the CPU: values, gradients, tracing, and inside the model."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from istvt.errors import UsageError
from istvt.kernels.ops import fused_attention, spatial_attention, temporal_attention
from istvt.models.istvt.attention import attend_over_space, attend_over_time, attention_kernels
from tests.models.istvt.small import SMALL, random_model, random_windows

Attend = Callable[[Tensor], Tensor]

OPS = [
    pytest.param(temporal_attention, attend_over_time, id="temporal"),
    pytest.param(spatial_attention, attend_over_space, id="spatial"),
]


def random_qkv(*, dtype: torch.dtype = torch.float64) -> Tensor:
    torch.manual_seed(0)
    return torch.randn(1, 4, 3, 3, 2, 2, dtype=dtype, requires_grad=True)


@pytest.mark.parametrize(("op", "formula"), OPS)
def test_the_cpu_kernel_is_the_formula(op: Attend, formula: Attend) -> None:
    qkv = random_qkv()
    torch.testing.assert_close(op(qkv), formula(qkv), rtol=0, atol=0)


@pytest.mark.parametrize(("op", "formula"), OPS)
def test_gradients_equal_finite_differences(op: Attend, formula: Attend) -> None:
    torch.autograd.gradcheck(op, random_qkv())


@pytest.mark.parametrize(("op", "formula"), OPS)
def test_gradients_in_fp32_equal_those_of_the_formula(op: Attend, formula: Attend) -> None:
    qkv = random_qkv(dtype=torch.float32)
    weights = torch.randn(op(qkv).shape)
    (given,) = torch.autograd.grad((op(qkv) * weights).sum(), qkv)
    (expected,) = torch.autograd.grad((formula(qkv) * weights).sum(), qkv)
    torch.testing.assert_close(given, expected)


@pytest.mark.slow
@pytest.mark.parametrize(("op", "formula"), OPS)
def test_tracing_rules_hold(op: Any, formula: Attend) -> None:
    """Schema, fake tensors, autograd and compilation with dynamic shapes, checked by torch."""
    torch.library.opcheck(op, (random_qkv(),))


@pytest.mark.parametrize(("op", "formula"), OPS)
def test_the_shape_rule_gives_the_real_shape(op: Attend, formula: Attend) -> None:
    traced = op(torch.empty(2, 7, 5, 3, 8, 64, device="meta", dtype=torch.float16))
    assert traced.shape == (2, 7, 5, 512)
    assert (traced.dtype, traced.device.type) == (torch.float16, "meta")


@pytest.mark.parametrize("shape", [(2, 7, 5, 3, 512), (2, 7, 5, 2, 8, 64)])
def test_another_layout_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"expected \(B, T\+1, N, 3, heads, head_dim\)"):
        temporal_attention(torch.empty(shape, device="meta"))


@pytest.mark.parametrize("device", ["CPU", "CUDA", "Meta", "Autograd"])
@pytest.mark.parametrize("name", ["temporal_attention", "spatial_attention"])
def test_kernels_are_registered(name: str, device: str) -> None:
    assert torch._C._dispatch_has_kernel_for_dispatch_key(f"istvt::{name}", device)


def test_the_model_runs_on_the_ops_and_keeps_its_weights() -> None:
    model = random_model(SMALL)
    windows = random_windows(SMALL, batch=2)
    names, expected = list(model.state_dict()), model(windows)
    cpu = torch.profiler.ProfilerActivity.CPU
    with torch.profiler.profile(activities=[cpu]) as profile, fused_attention(model):
        assert list(model.state_dict()) == names
        logits = model(windows)
    torch.testing.assert_close(logits, expected)
    called = {event.key: event.count for event in profile.key_averages()}
    # The last block computes only what token (0, 0) needs, by other means.
    for name in ("temporal_attention", "spatial_attention"):
        assert called[f"istvt::{name}"] == SMALL.depth - 1


def test_training_through_the_ops_gives_the_same_gradients() -> None:
    model = random_model(SMALL)
    windows = random_windows(SMALL, batch=2)
    model(windows).sum().backward()
    expected = {name: weight.grad for name, weight in model.named_parameters()}
    model.zero_grad()
    with fused_attention(model):
        model(windows).sum().backward()
    for name, weight in model.named_parameters():
        torch.testing.assert_close(weight.grad, expected[name])


def test_the_models_own_kernels_come_back_after_an_error() -> None:
    model = random_model(SMALL)
    expected = model(random_windows(SMALL, batch=1))
    with pytest.raises(ZeroDivisionError), attention_kernels(model, temporal=divide_by_zero):
        model(random_windows(SMALL, batch=1))
    torch.testing.assert_close(model(random_windows(SMALL, batch=1)), expected)


def divide_by_zero(qkv: Tensor) -> Tensor:
    raise ZeroDivisionError
