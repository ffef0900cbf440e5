"""Use a GPU through cuda-python's bindings of the driver."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import numpy as np

from istvt.compute import device_error
from istvt.errors import BackendError
from istvt.extras import require
from istvt.records import UInt8Array
from istvt.runtime.backends.cuda.device import letting_go


class CudaPythonDevice:
    """See `istvt.runtime.backends.cuda.device.Device`.

    Raises:
        MissingExtraError: cuda-python is not installed.
        BackendError: there is no such GPU.
    """

    def __init__(self, index: int = 0) -> None:
        self._driver: Any = require("cuda.bindings.driver", extra="rtx")
        self._pinned: list[UInt8Array] = []
        self._allocated: set[int] = set()
        driver = self._driver
        try:
            self._call("cuInit", 0)
        except RuntimeError as error:  # the driver's library is missing
            raise BackendError(f"there is no NVIDIA driver here: {error}") from error
        device, self._context = _primary_context(driver, index)
        attributes = driver.CUdevice_attribute
        major, minor = (
            self._call("cuDeviceGetAttribute", attribute, device)
            for attribute in (
                attributes.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
                attributes.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
            )
        )
        self.name = self._call("cuDeviceGetName", 256, device).split(b"\0")[0].decode()
        self.compute_capability = 10 * int(major) + int(minor)
        self.driver = int(self._call("cuDriverGetVersion"))
        with self.active():
            non_blocking = driver.CUstream_flags.CU_STREAM_NON_BLOCKING
            self._stream = self._call("cuStreamCreate", int(non_blocking))
        self.stream = int(self._stream)

    @contextmanager
    def active(self) -> Iterator[None]:
        """See `Device.active`."""
        self._call("cuCtxPushCurrent", self._context)
        try:
            yield
        except BaseException:
            with suppress(BackendError):  # a lost device answers each call with an error
                self._call("cuCtxPopCurrent")
            raise
        self._call("cuCtxPopCurrent")

    def allocate(self, num_bytes: int) -> int:
        """See `Device.allocate`."""
        address = int(self._call("cuMemAlloc", num_bytes))
        self._allocated.add(address)
        return address

    def free(self, address: int) -> None:
        """See `Device.free`."""
        self._allocated.discard(address)
        self._call("cuMemFree", address)

    def pinned(self, num_bytes: int) -> UInt8Array:
        """See `Device.pinned`; a numpy array, registered until the device is closed."""
        array = np.zeros(num_bytes, dtype=np.uint8)
        self._call("cuMemHostRegister", array.ctypes.data, num_bytes, 0)
        self._pinned.append(array)
        return array

    def copy_in(self, target: int, source: UInt8Array) -> None:
        """See `Device.copy_in`."""
        self._call("cuMemcpyHtoDAsync", target, source.ctypes.data, source.nbytes, self._stream)

    def copy_out(self, target: UInt8Array, source: int) -> None:
        """See `Device.copy_out`."""
        self._call("cuMemcpyDtoHAsync", target.ctypes.data, source, target.nbytes, self._stream)

    def copy(self, target: int, source: int, num_bytes: int) -> None:
        """See `Device.copy`."""
        self._call("cuMemcpyDtoDAsync", target, source, num_bytes, self._stream)

    def record(self) -> Any:
        """See `Device.record`."""
        event = self._call("cuEventCreate", 2)  # CU_EVENT_DISABLE_TIMING
        self._call("cuEventRecord", event, self._stream)
        return event

    def wait(self, mark: Any) -> None:
        """See `Device.wait`."""
        self._call("cuEventSynchronize", mark)
        self._call("cuEventDestroy", mark)

    def synchronize(self) -> None:
        """See `Device.synchronize`."""
        self._call("cuStreamSynchronize", self._stream)

    def close(self) -> None:
        """See `Device.close`."""
        with letting_go(), self.active():
            for address in tuple(self._allocated):  # PyTorch may keep the context, and so these
                self.free(address)
            for array in self._pinned:
                self._call("cuMemHostUnregister", array.ctypes.data)
            self._call("cuStreamDestroy", self._stream)

    def _call(self, name: str, *arguments: Any) -> Any:
        return _call(self._driver, name, *arguments)


@cache
def _primary_context(driver: Any, index: int) -> tuple[Any, Any]:
    """Retain a GPU's primary context for the rest of the process; returns the GPU and the context.

    Releasing it would undo what other libraries have set up in it.
    """
    device = _call(driver, "cuDeviceGet", index)
    return device, _call(driver, "cuDevicePrimaryCtxRetain", device)


def _call(driver: Any, name: str, *arguments: Any) -> Any:
    """Call the driver, whose functions return (status, results...)."""
    try:
        status, *results = getattr(driver, name)(*arguments)
    except ValueError as error:  # a status that these bindings are too old for
        raise device_error(name, str(error)) from error
    if status != driver.CUresult.CUDA_SUCCESS:
        _, text = driver.cuGetErrorString(status)
        raise device_error(name, f"{text.decode()} ({status.name})")
    return results[0] if len(results) == 1 else results or None
