"""Which number format trains fastest here, measured where it is not plain."""

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from istvt.errors import BackendError, UsageError
from istvt.training.recipe import Precision

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
PROBE_STEPS, PROBE_WINDOWS = 3, 4


def find_device(name: str | None = None) -> torch.device:
    """Take the named device, or a GPU where there is one.

    Raises:
        BackendError: the named device is not there.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise BackendError(f"device {name!r} cannot be used here: {error}") from error
    return device


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Give the context in which the forward pass runs."""
    return torch.autocast(device.type, DTYPES[precision], enabled=precision != "fp32")


@contextmanager
def true_fp32() -> Iterator[None]:
    """Keep a GPU from rounding fp32 factors to TF32, as it does in convolutions unless told."""
    convolutions, matrices = torch.backends.cudnn, torch.backends.cuda.matmul
    before = convolutions.allow_tf32, matrices.allow_tf32
    convolutions.allow_tf32 = matrices.allow_tf32 = False
    try:
        yield
    finally:
        convolutions.allow_tf32, matrices.allow_tf32 = before


def choose_precision(
    asked: str, device: torch.device, *, step_s: Callable[[Precision], float]
) -> Precision:
    """Settle "auto".

    A CPU takes bf16 only where it has instructions for it and a step is measured to be faster.

    Args:
        asked: of the recipe.
        device: where the training runs.
        step_s: trains some steps on a copy and gives the seconds of one.

    Raises:
        UsageError: fp16 is asked for on a CPU, or the format is unknown.
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


def has_bf16() -> bool:
    """Say whether this CPU multiplies bf16 matrices in hardware."""
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def measure_step_s(
    model: nn.Module, faces: torch.Tensor, labels: torch.Tensor, precision: Precision
) -> float:
    """Time a forward and backward pass on a copy of the model: the fastest after the first.

    Args:
        model: stays as it is.
        faces: `(m, T, S, S, 3)`; the first few are used.
        labels: `(m,)`.
        precision: to be timed.
    """
    probe = copy.deepcopy(model).train()
    times_s = []
    for _ in range(1 + PROBE_STEPS):
        started = time.perf_counter()
        with autocast(faces.device, precision):
            logits = probe(faces[:PROBE_WINDOWS])
        loss = binary_cross_entropy_with_logits(logits.float(), labels[:PROBE_WINDOWS])
        loss.backward()
        times_s.append(time.perf_counter() - started)
    return min(times_s[1:])
