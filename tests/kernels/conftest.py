"""A process in which Triton interprets the kernels; the variable must be set before its import."""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
import torch


@pytest.fixture(scope="session")
def interpreted() -> Iterator[Callable[..., Any]]:
    """Runs a function of `tests.kernels.worker` there and gives what it returns."""
    pytest.importorskip("triton", reason="Triton is not installed")
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=_prepare) as pool:
        yield lambda function, *arguments: pool.submit(function, *arguments).result()


def _prepare() -> None:
    os.environ["TRITON_INTERPRET"] = "1"
    torch.set_num_threads(1)
