"""Make a training on a GPU reproducible to the bit, at the cost of speed."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


@contextmanager
def determinism(*, wanted: bool) -> Iterator[None]:
    """Use only kernels that give the same bits every time, while the block runs.

    On a CPU a training gives the same bits anyway, with the same number of threads. On a GPU,
    convolutions and attention lose their fastest kernels; attention runs in PyTorch's flash or
    plain one. An operation without a deterministic kernel is an error. cuBLAS reads its setting
    when CUDA starts, so this must come first; the setting stays in the process.
    """
    if not wanted:
        yield
        return
    os.environ.setdefault(WORKSPACE, ":4096:8")
    cudnn = torch.backends.cudnn
    before = torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        with ExitStack() as stack:
            if torch.cuda.is_available():
                stack.enter_context(_deterministic_attention())
            yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        cudnn.deterministic, cudnn.benchmark = before[1:]


@contextmanager
def _deterministic_attention() -> Iterator[None]:
    """Exclude the kernels that sum gradients in arbitrary order."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]):
        yield
