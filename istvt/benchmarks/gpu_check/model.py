"""The model in every way and number format on the GPU, against fp32 on the CPU."""

from contextlib import ExitStack
from functools import partial

import numpy as np

from istvt.benchmarks.gpu_check.check import Check
from istvt.benchmarks.gpu_check.clock import make_clock
from istvt.benchmarks.gpu_check.rates import TORCH_NAMES
from istvt.benchmarks.gpu_check.result import Outcome, Settings
from istvt.benchmarks.gpu_check.subject import make_model, make_windows, reference_logits
from istvt.benchmarks.gpu_check.ways import WayName, make_stages
from istvt.export.kernels.spec import DtypeName
from istvt.export.parity import TOLERANCES, compare
from istvt.extras import require
from istvt.records import FloatArray


def check_parity(settings: Settings, *, way: WayName, dtype: DtypeName) -> Outcome:
    """Score random windows in one way, each face encoded alone as in a stream."""
    torch = require("torch", extra="gpu")
    from istvt.training.precision import true_fp32

    expected = reference_logits(settings)
    with torch.no_grad(), ExitStack() as stack, true_fp32():
        model = make_model(settings.preset).to(settings.device, getattr(torch, TORCH_NAMES[dtype]))
        stages = make_stages(way, model, batch=1, clock=make_clock(settings.device), stack=stack)
        found = stages.logits(make_windows(settings.preset))
    return outcome_of(expected, found, dtype, f"{way} {dtype}")


def outcome_of(expected: FloatArray, found: FloatArray, precision: str, name: str) -> Outcome:
    """Compare logits with the reference, by the tolerance of an export's parity.

    Allowed is also no more than a third of what lies between the windows, so that a model which is
    blind to them fails. Sides of logit 0 are told and not gated: random weights put windows there.
    """
    limit = TOLERANCES[precision].max_abs_logit or float("inf")
    allowed = min(limit, float(np.ptp(expected)) / 3)
    result = compare(
        ("fp32 on the CPU", expected),
        (name, found),
        origin="random pixels",
        tolerance=TOLERANCES[precision],
    )
    return Outcome(
        {
            "windows": result.windows,
            "max_abs_logit": result.max_abs_logit,
            "mean_abs_logit": result.mean_abs_logit,
            "flips": result.flips,
            "allowed": allowed,
        },
        passed=result.max_abs_logit <= allowed,
    )


def _checks() -> dict[str, Check]:
    cases: list[tuple[WayName, DtypeName]] = [("eager", "fp32"), ("fused", "fp32")]
    ways: tuple[WayName, ...] = ("eager", "fused", "fused, graph")
    types: tuple[DtypeName, ...] = ("fp16", "bf16")
    cases += [(way, dtype) for dtype in types for way in ways]
    return {f"{way} {dtype}": partial(check_parity, way=way, dtype=dtype) for way, dtype in cases}


CHECKS = _checks()
