"""Checks that end in every way a check can end."""

import logging
import os
import time

from istvt.benchmarks.gpu_check.result import CannotRunError, Outcome, Settings
from istvt.errors import BackendError, MissingExtraError


class OutOfMemoryError(RuntimeError):
    """Named like PyTorch's."""


def raises(error: Exception):
    def check(settings: Settings) -> Outcome:
        raise error

    return check


def dies(settings: Settings) -> Outcome:
    os.abort()


def hangs(settings: Settings) -> Outcome:
    time.sleep(60)
    return Outcome()


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
    "finds a broken backend": raises(BackendError("the engine gives zeros")),
    "raises": raises(ValueError("illegal memory access")),
    "comes after": chatters,
    "dies": dies,
    "comes after a death": chatters,
    "hangs": hangs,
    "comes last": chatters,
}
