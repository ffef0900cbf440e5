"""Work queued on a stream once in, a graph that queues all of it again in one call out.

Through the driver's own library, because PyCUDA (2026.1) has no stream capture; the handles are
the same for every package.
"""

import ctypes
import logging
from collections.abc import Callable
from typing import Any

from istvt.errors import (
    BackendError,
    DeviceLostError,
    DeviceMemoryError,
    RuntimeEnvironmentError,
)
from istvt.runtime.backends.device import device_error

logger = logging.getLogger(__name__)

DRIVER_LIBRARY = "libcuda.so.1"
CAPTURED_BATCHES = (1, 2, 4, 8, 16)
CAPTURE_THREAD_LOCAL = 1  # other threads may go on allocating


class CudaGraph:
    """A captured piece of work, for fixed addresses and shapes; made and used inside `active()`.

    Raises:
        BackendError: the driver cannot capture it.
    """

    def __init__(self, stream: int, queue: Callable[[], None], *, library: Any = None) -> None:
        self._library = library or _load()
        self._stream = ctypes.c_void_p(stream)
        self._call("cuStreamBeginCapture_v2", self._stream, CAPTURE_THREAD_LOCAL)
        graph = ctypes.c_void_p()
        try:
            queue()
        finally:  # a stream left capturing takes no other work
            status = self._library.cuStreamEndCapture(self._stream, ctypes.byref(graph))
        self._check("cuStreamEndCapture", status)
        self._executable = ctypes.c_void_p()
        flags = ctypes.c_ulonglong(0)
        self._call("cuGraphInstantiateWithFlags", ctypes.byref(self._executable), graph, flags)
        self._call("cuGraphDestroy", graph)

    def launch(self) -> None:
        """Queue the captured work."""
        self._call("cuGraphLaunch", self._executable, self._stream)

    def close(self) -> None:
        """Free the graph."""
        self._call("cuGraphExecDestroy", self._executable)

    def _call(self, name: str, *arguments: Any) -> None:
        self._check(name, getattr(self._library, name)(*arguments))

    def _check(self, name: str, status: int) -> None:
        if status == 0:
            return
        text = ctypes.c_char_p()
        self._library.cuGetErrorString(status, ctypes.byref(text))
        raise device_error(name, (text.value or b"unknown error").decode())


def capture(stream: int, queue: Callable[[], None]) -> CudaGraph | None:
    """Make a graph of work, or none where the runtime cannot be captured, which is told.

    Raises:
        DeviceLostError, DeviceMemoryError: running without a graph would not help.
    """
    try:
        return CudaGraph(stream, queue)
    except (DeviceLostError, DeviceMemoryError):
        raise
    except RuntimeEnvironmentError as error:
        logger.warning("window passes run without a CUDA graph: %s", error)
        return None


def _load() -> Any:
    try:
        return ctypes.CDLL(DRIVER_LIBRARY)
    except OSError as error:
        raise BackendError(f"there is no NVIDIA driver here: {error}") from error
