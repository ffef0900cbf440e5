"""Errors of a GPU that is not here, by their words."""

import pytest
import torch

from istvt.compute import gpu_errors
from istvt.errors import BackendError, DeviceLostError, DeviceMemoryError, ExitCode

LOST = "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be ..."

NCCL = "NCCL error in: ProcessGroupNCCL.cpp:94, unhandled system error\nLast error:\n"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), DeviceMemoryError),
        (torch.AcceleratorError("CUDA error: out of memory"), DeviceMemoryError),
        (RuntimeError("cuBLAS: CUBLAS_STATUS_ALLOC_FAILED when calling x"), DeviceMemoryError),
        (torch.AcceleratorError(LOST), DeviceLostError),
        (RuntimeError(LOST), DeviceLostError),
        (torch.AcceleratorError("CUDA error: invalid argument"), BackendError),
    ],
)
def test_errors_of_the_gpu_are_of_the_machine(error: Exception, expected: type) -> None:
    with pytest.raises(BackendError) as found, gpu_errors("training", less="a smaller batch"):
        raise error
    assert type(found.value) is expected
    assert found.value.exit_code == ExitCode.ENVIRONMENT
    assert str(found.value).startswith("training ")
    assert ("a smaller batch" in str(found.value)) == (expected is DeviceMemoryError)
    assert "might be" not in str(found.value)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("expected all tensors on one device, found cuda:0 and cpu"),
        RuntimeError("the service is unavailable"),
        RuntimeError(f"{NCCL}Call to socket failed: Resource temporarily unavailable"),
        RuntimeError(f"{NCCL}Call to recv failed: Unknown error 521"),
        ValueError("CUDA error: out of memory"),
        KeyboardInterrupt(),
    ],
)
def test_others_are_left_alone(error: BaseException) -> None:
    with pytest.raises(type(error)) as found, gpu_errors("training", less="a smaller batch"):
        raise error
    assert found.value is error
