"""Score the windows in one way of PyTorch, each face encoded alone as in a stream."""

from contextlib import ExitStack

import torch

from gpu_check.clock import make_clock
from gpu_check.subject import (
    TORCH_NAMES,
    Settings,
    allowed_error,
    check_logits,
    make_model,
    make_windows,
    reference_logits,
)
from gpu_check.ways import WayName, make_stages
from istvt.compute import true_fp32
from istvt.records import FloatPrecision
from istvt.runtime.parity import ParityResult


def check_way(settings: Settings, *, way: WayName, dtype: FloatPrecision) -> ParityResult:
    expected = reference_logits(settings)
    with torch.no_grad(), ExitStack() as stack, true_fp32():
        model = make_model(settings.preset).to(settings.device, getattr(torch, TORCH_NAMES[dtype]))
        clock = make_clock(settings.device)
        stages = make_stages(way, model, batch=1, clock=clock, stack=stack)
        found = stages.logits(make_windows(settings.preset))
    return check_logits(expected, found, allowed_error(dtype, settings.device))
