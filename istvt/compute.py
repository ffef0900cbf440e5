"""Choose cores, PyTorch devices and number formats, and translate a GPU's errors into ours.

PyTorch is imported where it is used, since a device that only runs engines lacks it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from istvt.errors import BackendError, DeviceLostError, DeviceMemoryError

if TYPE_CHECKING:
    import torch

    from istvt.records import FloatPrecision

# Excerpts from the texts of cuGetErrorString, which every library passes on.
LOST_SIGNS = (
    *("illegal memory access", "illegal instruction", "misaligned address", "launch failure"),
    *("launch timed out", "device-side assert", "context is destroyed", "shared address space"),
    *("invalid program counter", "hardware stack", "uncorrectable ecc", "nvlink"),
    *("busy or unavailable", "driver shutting down", "cuda error: unknown error"),
    *("failed: unknown error", "(unknown error)", "unknown error (cuda"),
)
# CUDA's, ONNX Runtime's arena's, TensorRT's, cuBLAS's and cuDNN's.
MEMORY_SIGNS = (
    *("out of memory", "outofmemory", "bad alloc", "failed to allocate memory", "alloc failed"),
)
# PyTorch's errors name one of these; an error that names only NCCL concerns the network.
LIBRARIES = ("cuda", "cudnn", "cublas")


def count_cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def find_device(name: str | None = None) -> "torch.device":
    """Return the named device, else a GPU if there is one, else the CPU.

    Raises:
        BackendError: the named device is missing.
    """
    import torch

    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise BackendError(f"device {name!r} cannot be used here: {error}") from error
    return device


def has_bf16() -> bool:
    """Return whether this CPU multiplies bf16 matrices in hardware."""
    import torch

    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def autocast(device: "torch.device", precision: "FloatPrecision") -> "torch.autocast":
    """Return the context in which a forward pass runs in this precision."""
    import torch

    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    return torch.autocast(device.type, dtypes[precision], enabled=precision != "fp32")


@contextmanager
def true_fp32() -> Iterator[None]:
    """Keep a GPU from rounding fp32 factors to TF32, its default in convolutions."""
    import torch

    convolutions, matrices = torch.backends.cudnn, torch.backends.cuda.matmul
    before = convolutions.allow_tf32, matrices.allow_tf32
    convolutions.allow_tf32 = matrices.allow_tf32 = False
    try:
        yield
    finally:
        convolutions.allow_tf32, matrices.allow_tf32 = before


def device_error(action: str, reason: str) -> BackendError:
    """Translate a CUDA error message into our error."""
    text = f"{action} failed on the GPU: {reason}"
    lowered = reason.lower().replace("_", " ")
    if any(sign in lowered for sign in MEMORY_SIGNS):
        return DeviceMemoryError(
            f"{text}; close other programs on it (engines of a smaller --max-batch take less)"
        )
    if any(sign in lowered for sign in LOST_SIGNS):
        return DeviceLostError(
            f"{text}; start istvt again; if the error returns, check the driver (`istvt checks`)"
        )
    return BackendError(text)


def torch_error(error: Exception, action: str = "PyTorch") -> BackendError:
    """Translate PyTorch's error on a GPU into ours.

    Its advice on debugging is left out: it follows every error, and names a device-side assert.
    """
    return device_error(action, str(error).partition("\nCUDA kernel errors might")[0])


@contextmanager
def gpu_errors(action: str, *, less: str) -> Iterator[None]:
    """Translate PyTorch's GPU errors in the block; leave others alone.

    Args:
        action: what the block does.
        less: advice that saves memory.

    Raises:
        DeviceMemoryError: the GPU's memory is too small.
        DeviceLostError: the GPU or its driver stopped working.
        BackendError: another GPU error.
    """
    import torch

    try:
        yield
    except RuntimeError as error:
        is_plain = not isinstance(error, torch.OutOfMemoryError | torch.AcceleratorError)
        if is_plain and not any(name in str(error).lower() for name in LIBRARIES):
            raise
        found = torch_error(error, action)
        if isinstance(found, DeviceMemoryError):
            raise DeviceMemoryError(
                f"{action} does not fit into the GPU's memory: start again with {less}"
            ) from error
        if is_plain and not isinstance(found, DeviceLostError):
            raise  # a mistake of ours can name CUDA too
        raise found from error
