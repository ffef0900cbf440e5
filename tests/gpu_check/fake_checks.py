"""Jobs that end in every way a job can end."""

import logging
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from gpu_check.jobs import Job
from gpu_check.subject import CannotRunError, Settings, building
from gpu_check.table import Row
from istvt.errors import BackendError, DeviceMemoryError, MissingExtraError


class OutOfMemoryError(RuntimeError):
    """Named like PyTorch's."""


ERRORS = {
    "cannot": CannotRunError("no such GPU"),
    "lacks a package": MissingExtraError("abc is needed here"),
    "is too large": OutOfMemoryError("CUDA out of memory"),
    "fills the driver's memory": DeviceMemoryError("no room is left"),
    "fills it in Triton": RuntimeError("Triton Error [CUDA]: out of memory"),
    "fills it in cuBLAS": RuntimeError(
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
    ),
    "finds a broken backend": BackendError("the engine gives zeros"),
    "raises": ValueError("illegal memory access"),
}


def passes(settings: Settings, row: Row) -> Row:
    return replace(row, status="pass", value=1.5, unit="ms", figures={"pid": os.getpid()})


def fails(settings: Settings, row: Row) -> Row:
    return replace(row, status="fail", reason="2 is not 1", figures={"pid": os.getpid()})


def measures(settings: Settings, row: Row) -> Row:
    figures = {"pid": os.getpid(), "seconds": settings.seconds}
    return replace(row, status="measured", figures=figures)


def raises(settings: Settings, row: Row) -> Row:
    raise ERRORS[row.name]


def gives_a_way_up(settings: Settings, row: Row) -> Row:
    for _ in range(2):
        logging.getLogger("istvt.runtime").warning("passes run without a %s", "graph")
    return replace(row, status="pass", note="1 is 1")


def looks_up_what_is_not_there(settings: Settings, row: Row) -> Row:
    return {}["missing"]


def dies(settings: Settings, row: Row, *, calls: int = 90) -> Row:
    """Somewhere deep in a compiler."""
    return dies(settings, row, calls=calls - 1) if calls else aborts()


def aborts() -> Row:
    os.write(2, b"terminate called: what(): no such kernel\n")
    os.abort()


def chatters(settings: Settings, row: Row) -> Row:
    os.write(1, b"a native library says hello\n")
    return passes(settings, row)


def hangs(settings: Settings, row: Row) -> Row:
    time.sleep(60)
    return row


def builds_for_ever(settings: Settings, row: Row) -> Row:
    with building("TensorRT built its engines"):
        return hangs(settings, row)


def hangs_after_a_build(settings: Settings, row: Row) -> Row:
    with building("TensorRT built its engines"):
        pass
    return hangs(settings, row)


def hangs_with_a_child(settings: Settings, row: Row) -> Row:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    (Path(settings.work) / "pids").write_text(f"{os.getpid()} {child.pid}\n")
    return hangs(settings, row)


def job(name: str, function: str, *, timeout_s: float = 60.0, shares: bool = True) -> Job:
    return Job(Row("fake", name), f"tests.gpu_check.fake_checks:{function}", timeout_s, shares)


JOBS = (
    *(job(name, name) for name in ("passes", "fails", "measures")),
    job("gives a way up", "gives_a_way_up"),
    *(job(name, "raises") for name in ERRORS),
    job("has a bug", "looks_up_what_is_not_there"),
    job("comes after", "chatters"),
    job("dies", "dies"),
    job("comes after a death", "chatters"),
    job("hangs", "hangs", timeout_s=3.0),
    job("builds for ever", "builds_for_ever", timeout_s=3.0),
    job("hangs after a build", "hangs_after_a_build", timeout_s=3.0),
    job("comes last", "chatters"),
)
