"""Choose the fastest number format for a training, measuring it where needed."""

import copy
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from istvt.compute import autocast, has_bf16
from istvt.errors import UsageError
from istvt.models.base import VideoModel
from istvt.records import FloatPrecision

PROBE_STEPS, PROBE_WINDOWS = 3, 4

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settled:
    """The number format of a training, and the seconds spent measuring it."""

    precision: FloatPrecision
    seconds: float = 0.0


def settle_precision(
    asked: str, device: torch.device, model: VideoModel, *, is_alone: bool = True
) -> Settled:
    """Choose the number format before a training.

    Processes that train together might measure differently: on a CPU they take fp32 for "auto".

    Args:
        asked: the recipe's precision.
        device: where the training runs.
        model: stays unchanged.
        is_alone: no other process trains with this one.

    Raises:
        UsageError: see `choose_precision`.
    """
    started = time.perf_counter()
    if asked == "auto" and device.type == "cpu" and not is_alone:
        return Settled("fp32")
    precision = choose_precision(
        asked, device, step_s=lambda precision: measure_step_s(model, device, precision)
    )
    log.info("training on %s in %s", device, precision)
    return Settled(precision, time.perf_counter() - started)


def choose_precision(
    asked: str, device: torch.device, *, step_s: Callable[[FloatPrecision], float]
) -> FloatPrecision:
    """Resolve "auto" to a number format.

    A CPU takes bf16 only if it has instructions for it and a step is measured to be faster.

    Args:
        asked: the recipe's precision.
        device: where the training runs.
        step_s: trains some steps on a copy and returns the seconds of one.

    Raises:
        UsageError: fp16 is requested on a CPU, or the format is unknown.
    """
    match asked, device.type:
        case "fp16", "cpu":
            raise UsageError("precision is 'fp16': a CPU trains in 'fp32', 'bf16' or 'auto'")
        case ("fp32" | "bf16" | "fp16") as named, _:
            return named
        case "auto", "cuda":
            return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
        case "auto", _:
            return "bf16" if has_bf16() and step_s("bf16") < step_s("fp32") else "fp32"
    raise UsageError(f"precision is {asked!r}: expected auto, fp32, bf16 or fp16")


def measure_step_s(model: VideoModel, device: torch.device, precision: FloatPrecision) -> float:
    """Time the fastest forward and backward pass after the first, on a copy of the model."""
    probe = copy.deepcopy(model).to(device).train()
    spec = model.spec
    shape = (PROBE_WINDOWS, spec.num_frames, spec.image_size, spec.image_size, 3)
    generator = torch.Generator().manual_seed(0)
    faces = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).to(device)
    labels = torch.arange(PROBE_WINDOWS, device=device).remainder(2).float()
    times_s = []
    for _ in range(1 + PROBE_STEPS):
        started = time.perf_counter()
        with autocast(device, precision):
            logits = probe(faces)
        binary_cross_entropy_with_logits(logits.float(), labels).backward()
        times_s.append(time.perf_counter() - started)
    return min(times_s[1:])
