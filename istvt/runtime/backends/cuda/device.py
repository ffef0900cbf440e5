"""Define the CUDA device that the GPU backends need, for any package that provides it.

There are two such packages: PyCUDA, and cuda-python where PyCUDA is not installed. Both use the
device's primary context, as TensorRT and ONNX Runtime do. Addresses and the stream are therefore
valid in each.
"""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from istvt.errors import RuntimeEnvironmentError
from istvt.records import UInt8Array

logger = logging.getLogger(__name__)


class Device(Protocol):
    """One GPU, one stream on it, and memory. Call its methods inside `active()`.

    Attributes:
        name: of the GPU.
        compute_capability: 89 for 8.9.
        driver: as CUDA numbers it, 13010 for 13.1.
        stream: its handle. All copies are queued on it and return at once.
    """

    name: str
    compute_capability: int
    driver: int
    stream: int

    def active(self) -> AbstractContextManager[None]:
        """Make the device's context current in this thread."""
        ...

    def allocate(self, num_bytes: int) -> int:
        """Return the address of new device memory.

        Raises:
            DeviceMemoryError: there is not enough.
        """
        ...

    def free(self, address: int) -> None:
        """Free memory."""
        ...

    def pinned(self, num_bytes: int) -> UInt8Array:
        """Return host memory for copies without staging, valid until the device is closed."""
        ...

    def copy_in(self, target: int, source: UInt8Array) -> None:
        """Queue a copy from pinned memory, which must not change until it is done."""
        ...

    def copy_out(self, target: UInt8Array, source: int) -> None:
        """Queue a copy to pinned memory."""
        ...

    def copy(self, target: int, source: int, num_bytes: int) -> None:
        """Queue a copy within the device."""
        ...

    def record(self) -> Any:
        """Return a mark of the work queued so far."""
        ...

    def wait(self, mark: Any) -> None:
        """Block until everything before the mark is done."""
        ...

    def synchronize(self) -> None:
        """Block until everything queued is done.

        Raises:
            DeviceLostError: something queued broke the device's context.
        """
        ...

    def close(self) -> None:
        """Free the memory and the stream; a lost device raises nothing here.

        The context stays until the process ends, since other libraries may have state in it.
        """
        ...


@contextmanager
def letting_go() -> Iterator[None]:
    """Log errors while freeing: a lost device frees nothing, and the error that lost it matters."""
    try:
        yield
    except RuntimeEnvironmentError as error:
        logger.warning("not all that was held on the GPU could be freed: %s", error)
