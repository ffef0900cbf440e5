"""What PyTorch raises of a GPU in, our errors with what to do out."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from istvt.errors import DeviceLostError, DeviceMemoryError
from istvt.runtime.backends.torch_cuda import cuda_error

# Named in what they say; NCCL alone speaks of the network between machines.
LIBRARIES = ("cuda", "cudnn", "cublas")


@contextmanager
def gpu_errors(action: str, *, less: str) -> Iterator[None]:
    """Turn errors of the GPU in the block into ours; others are left alone.

    Args:
        action: what is done.
        less: what takes less memory.

    Raises:
        DeviceMemoryError: the memory does not suffice.
        DeviceLostError: the GPU or its driver stopped working.
        BackendError: something else is wrong with it.
    """
    try:
        yield
    except RuntimeError as error:
        is_plain = not isinstance(error, torch.OutOfMemoryError | torch.AcceleratorError)
        if is_plain and not any(name in str(error).lower() for name in LIBRARIES):
            raise
        found = cuda_error(error, action)
        if isinstance(found, DeviceMemoryError):
            raise DeviceMemoryError(
                f"{action} does not fit into the GPU's memory: start again with {less}"
            ) from error
        if is_plain and not isinstance(found, DeviceLostError):
            raise  # a mistake of ours can name CUDA too
        raise found from error
