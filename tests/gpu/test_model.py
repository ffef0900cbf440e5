"""The model in each way of PyTorch and number format against fp32 on the CPU."""

import pytest

from gpu_check.subject import describe_parity, require_bf16
from tests.gpu.parity import check_way

WAYS = ("eager", "fused", "fused, graph")


@pytest.mark.parametrize(
    ("way", "dtype"),
    [
        *(("eager", "fp32"), ("fused", "fp32")),
        *((way, dtype) for dtype in ("fp16", "bf16") for way in WAYS),
    ],
)
def test_logits(settings, record_property, way, dtype):
    require_bf16(settings.device, dtype)
    parity = check_way(settings, way=way, dtype=dtype)
    record_property("value", parity.max_abs_logit)
    record_property("mean_abs_logit", parity.mean_abs_logit)
    assert not describe_parity(parity)
