"""Steps of a training in bf16: their losses are those of fp32 on the CPU; speed and memory."""

import gc
import math
import statistics
import time

import pytest

from tests.gpu.steps import ALLOWED_LOSS, make_step, worst_difference

WARM_UP_STEPS, AT_LEAST_STEPS = 2, 3


@pytest.mark.parametrize("checkpoints", [False, True])
@pytest.mark.parametrize("batch", [1, 2, 4, 8, 16, 32, 64, 128])
def test_speed_and_memory(settings, record_property, batch, checkpoints):
    import torch

    gc.collect()  # a batch that did not fit leaves cycles behind
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    step = make_step(settings, batch=batch, checkpoints=checkpoints)
    losses = [step() for _ in range(WARM_UP_STEPS)]
    times_s: list[float] = []
    while len(times_s) < AT_LEAST_STEPS or sum(times_s) < settings.seconds:
        start_s = time.perf_counter()
        losses.append(step())  # a number, so the device is idle when it returns
        times_s.append(time.perf_counter() - start_s)
    record_property("value", batch / statistics.median(times_s))
    record_property("unit", "windows/s")
    record_property("step_ms", 1e3 * statistics.median(times_s))
    record_property("peak_mib", torch.cuda.max_memory_allocated() / 2**20)
    record_property("dtype", "bf16")
    assert all(map(math.isfinite, losses))


def test_losses_are_those_of_fp32_on_the_cpu(settings, record_property):
    worst = worst_difference(settings)
    record_property("value", worst)
    record_property("dtype", "bf16")
    assert worst <= ALLOWED_LOSS
