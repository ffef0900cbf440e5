"""What is allowed of a logit: more than right ways are off by, less than wrong ones are."""

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from gpu_check.subject import (
    CannotRunError,
    Settings,
    allowed_error,
    check_logits,
    describe_parity,
    is_right,
    make_model,
    make_windows,
    reference_logits,
    require_bf16,
)
from istvt.models.istvt.attention import attention_kernels, self_subtract
from istvt.presets import TINY
from tests.gpu.parity import check_way


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return Settings(device="cpu", preset_name="tiny", work=str(tmp_path_factory.mktemp("work")))


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
def test_right_ways_pass(settings, dtype):
    parity = check_way(settings, way="fused", dtype=dtype)
    assert is_right(parity)
    assert describe_parity(parity) == ""
    assert parity.windows == 8
    assert 2 * parity.max_abs_logit < parity.tolerance.max_abs_logit


def over_time(queries, keys, values, **options):
    """Attend along the rows of `(B, N, heads, T+1, head_dim)`."""
    mixed = scaled_dot_product_attention(queries, keys, values, **options)
    return mixed.permute(0, 3, 1, 2, 4).flatten(3)


def apart(qkv):
    return qkv.permute(3, 0, 2, 4, 1, 5).unbind(0)


def queries_not_subtracted(qkv):
    queries, keys, values = apart(qkv)
    return over_time(queries, self_subtract(keys, time_dim=3), values)


def nothing_subtracted(qkv):
    return over_time(*apart(qkv))


def without_scale(qkv):
    queries, keys, values = apart(qkv)
    return over_time(
        *(self_subtract(rows, time_dim=3) for rows in (queries, keys)), values, scale=1
    )


def uniform(qkv):
    values = qkv[..., 2, :, :]
    return values.mean(1, keepdim=True).expand_as(values).flatten(3)


def last_keys_left_out(qkv):
    queries, keys, values = qkv.flatten(0, 1).permute(2, 0, 3, 1, 4).unbind(0)
    mixed = scaled_dot_product_attention(queries, keys[:, :, :-10], values[:, :, :-10])
    return mixed.transpose(1, 2).flatten(2).unflatten(0, qkv.shape[:2])


@pytest.mark.parametrize(
    "wrong",
    [
        {"temporal": queries_not_subtracted},
        {"temporal": nothing_subtracted},
        {"temporal": without_scale},
        {"temporal": uniform},
        {"spatial": last_keys_left_out},
    ],
    ids=lambda wrong: next(iter(wrong.values())).__name__,
)
def test_wrong_kernels_do_not(settings, wrong):
    """An engine's plugin has no other check of its values."""
    model = make_model(TINY)
    with torch.inference_mode(), attention_kernels(model, **wrong):
        found = model(torch.from_numpy(make_windows(TINY))).numpy()
    limit = allowed_error("fp16", "cuda")
    parity = check_logits(reference_logits(settings), found, limit)
    assert not is_right(parity)
    assert "0.03 is allowed" in describe_parity(parity)


def test_one_window_may_be_off_by_more_than_all_of_them():
    expected = np.linspace(-1, 1, 8, dtype=np.float32)
    once = expected + np.float32(0.02) * (np.arange(8) == 3)
    assert is_right(check_logits(expected, once, 0.03))
    assert not is_right(check_logits(expected, expected + np.float32(0.02), 0.03))


def test_a_model_blind_to_windows_fails():
    expected = np.array([-0.1, 0.0, 0.05], dtype=np.float32)
    assert is_right(check_logits(expected, expected + np.float32(0.01), 0.03))
    assert not is_right(check_logits(expected, np.zeros(3, dtype=np.float32), 1.0))
    assert not is_right(check_logits(expected, expected * np.float32("nan"), 1.0))


def test_fp32_is_held_to_more_than_tf32_could():
    assert allowed_error("fp32", "cuda") < allowed_error("fp16", "cuda") / 10
    assert allowed_error("fp32", "cpu") < allowed_error("fp32", "cuda")


@pytest.mark.parametrize(("capability", "has_bf16"), [((7, 5), False), ((8, 0), True)])
def test_bf16_is_not_asked_of_a_gpu_without(monkeypatch, capability, has_bf16):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    require_bf16("cuda", "fp16")
    require_bf16("cpu", "bf16")
    if has_bf16:
        require_bf16("cuda", "bf16")
    else:
        with pytest.raises(
            CannotRunError, match=r"needs compute capability 8\.0; this GPU has 7\.5"
        ):
            require_bf16("cuda", "bf16")
