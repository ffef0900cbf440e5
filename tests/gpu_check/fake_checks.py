"""Checks that end in every way a check can end of itself."""

import logging
import os

from gpu_check.result import CannotRunError, Outcome, Settings
from istvt.errors import BackendError, DeviceMemoryError, MissingExtraError


class OutOfMemoryError(RuntimeError):
    """Named like PyTorch's."""


def raises(error: Exception):
    def check(settings: Settings) -> Outcome:
        raise error

    return check


def looks_up_what_is_not_there(settings: Settings) -> Outcome:
    return {}["missing"]


def dies(settings: Settings, *, calls: int = 90) -> Outcome:
    """Somewhere deep in a compiler."""
    if calls:
        return dies(settings, calls=calls - 1)
    return aborts()


def aborts() -> Outcome:
    os.write(2, b"terminate called: what(): no such kernel\n")
    os.abort()


def chatters(settings: Settings) -> Outcome:
    os.write(1, b"a native library says hello\n")
    return Outcome({"pid": os.getpid()}, passed=True)


def gives_a_way_up(settings: Settings) -> Outcome:
    for _ in range(2):
        logging.getLogger("istvt.runtime").warning("passes run without a %s", "graph")
    return Outcome(passed=True, note="1 is 1")


CHECKS = {
    "passes": lambda settings: Outcome({"pid": os.getpid(), "x_ms": 1.5}, passed=True),
    "fails": lambda settings: Outcome({"pid": os.getpid()}, passed=False, note="2 is not 1"),
    "gives a way up": gives_a_way_up,
    "measures": lambda settings: Outcome({"pid": os.getpid(), "seconds": settings.seconds}),
    "cannot": raises(CannotRunError("no such GPU")),
    "lacks a package": raises(MissingExtraError("abc is needed here")),
    "is too large": raises(OutOfMemoryError("CUDA out of memory")),
    "fills the driver's memory": raises(DeviceMemoryError("no room is left")),
    "fills it in Triton": raises(RuntimeError("Triton Error [CUDA]: out of memory")),
    "fills it in cuBLAS": raises(
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
    ),
    "finds a broken backend": raises(BackendError("the engine gives zeros")),
    "raises": raises(ValueError("illegal memory access")),
    "has a bug": looks_up_what_is_not_there,
    "comes after": chatters,
    "dies": dies,
    "comes after a death": chatters,
}
