"""Checks that do not end in time, among some that do."""

import os
import time

from gpu_check.result import Outcome, Settings


def hangs(settings: Settings) -> Outcome:
    time.sleep(60)
    return Outcome()


def builds_for_ever(settings: Settings) -> Outcome:
    with settings.building("TensorRT built its engines"):
        time.sleep(60)
    return Outcome()


def passes(settings: Settings) -> Outcome:
    return Outcome({"pid": os.getpid()}, passed=True)


CHECKS = {
    "hangs": hangs,
    "builds for ever": builds_for_ever,
    "comes last": passes,
}
