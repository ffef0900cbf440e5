"""Use a GPU through PyCUDA."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import numpy as np

from istvt.compute import device_error
from istvt.extras import require
from istvt.records import UInt8Array
from istvt.runtime.backends.cuda.device import letting_go


class PyCudaDevice:
    """See `istvt.runtime.backends.cuda.device.Device`.

    Raises:
        MissingExtraError: PyCUDA is not installed.
        BackendError: there is no such GPU.
    """

    def __init__(self, index: int = 0) -> None:
        self._cuda: Any = require("pycuda.driver", extra="tensorrt")
        self._allocations: dict[int, Any] = {}
        self._pinned: list[UInt8Array] = []
        with self._errors("cuInit"):
            self._cuda.init()
            device = self._cuda.Device(index)
            self._context = _primary_context(self._cuda, index)
            major, minor = device.compute_capability()
            self.name = str(device.name())
            self.driver = int(self._cuda.get_driver_version())
        self.compute_capability = 10 * int(major) + int(minor)
        with self.active():
            self._stream = self._cuda.Stream(1)  # CU_STREAM_NON_BLOCKING
        self.stream = int(self._stream.handle)

    @contextmanager
    def active(self) -> Iterator[None]:
        """See `Device.active`."""
        with self._errors("entering the context"):
            self._context.push()
        try:
            with self._errors("CUDA"):
                yield
        except BaseException:
            with suppress(self._cuda.Error):  # a lost device answers each call with an error
                self._context.pop()
            raise
        with self._errors("leaving the context"):
            self._context.pop()

    def allocate(self, num_bytes: int) -> int:
        """See `Device.allocate`."""
        with self._errors("allocating"):
            allocation = self._cuda.mem_alloc(num_bytes)
        self._allocations[int(allocation)] = allocation
        return int(allocation)

    def free(self, address: int) -> None:
        """See `Device.free`."""
        with self._errors("freeing"):
            self._allocations.pop(address).free()

    def pinned(self, num_bytes: int) -> UInt8Array:
        """See `Device.pinned`."""
        with self._errors("allocating pinned memory"):
            array: UInt8Array = self._cuda.pagelocked_empty(num_bytes, np.uint8)
        self._pinned.append(array)
        return array

    def copy_in(self, target: int, source: UInt8Array) -> None:
        """See `Device.copy_in`."""
        with self._errors("copying in"):
            self._cuda.memcpy_htod_async(target, source, self._stream)

    def copy_out(self, target: UInt8Array, source: int) -> None:
        """See `Device.copy_out`."""
        with self._errors("copying out"):
            self._cuda.memcpy_dtoh_async(target, source, self._stream)

    def copy(self, target: int, source: int, num_bytes: int) -> None:
        """See `Device.copy`."""
        with self._errors("copying"):
            self._cuda.memcpy_dtod_async(target, source, num_bytes, self._stream)

    def record(self) -> Any:
        """See `Device.record`."""
        with self._errors("recording"):
            return self._cuda.Event(self._cuda.event_flags.DISABLE_TIMING).record(self._stream)

    def wait(self, mark: Any) -> None:
        """See `Device.wait`."""
        with self._errors("waiting"):
            mark.synchronize()

    def synchronize(self) -> None:
        """See `Device.synchronize`."""
        with self._errors("running"):
            self._stream.synchronize()

    def close(self) -> None:
        """See `Device.close`."""
        with letting_go(), self.active():
            for allocation in self._allocations.values():
                allocation.free()
            self._allocations.clear()
            while self._pinned:  # PyCUDA frees them only in the thread that opened the device
                self._pinned.pop().base.free()  # type: ignore[union-attr]
            del self._stream

    @contextmanager
    def _errors(self, action: str) -> Iterator[None]:
        try:
            yield
        except self._cuda.Error as error:
            raise device_error(action, str(error)) from error


@cache
def _primary_context(cuda: Any, index: int) -> Any:
    """Retain a GPU's primary context for the rest of the process.

    Releasing it would undo what other libraries have set up in it. PyCUDA 2026.1 would also leave
    it current: `context::detach` pushes it, and expects a pop that its release does not do.
    """
    return cuda.Device(index).retain_primary_context()
