"""Capture work queued on a stream as a CUDA graph that queues all of it again in one call.

It uses the driver's own library, because PyCUDA (2026.1) has no stream capture; the handles are the
same for every package.
"""

import ctypes
import logging
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from istvt.errors import DeviceLostError, DeviceMemoryError, RuntimeEnvironmentError
from istvt.runtime.backends.cuda.driver import CudaDriver

logger = logging.getLogger(__name__)

CAPTURED_BATCHES = (1, 2, 4, 8, 16)
CAPTURE_THREAD_LOCAL = 1  # lets other threads allocate meanwhile

Graph = TypeVar("Graph")


class CudaGraph:
    """Captured work with fixed addresses and shapes; made and used inside `active()`.

    Raises:
        BackendError: the driver cannot capture it.
    """

    def __init__(self, stream: int, queue: Callable[[], None], *, library: Any = None) -> None:
        driver = self._driver = CudaDriver(library)
        self._stream = ctypes.c_void_p(stream)
        driver.call("cuStreamBeginCapture_v2", self._stream, CAPTURE_THREAD_LOCAL)
        graph = ctypes.c_void_p()
        self._executable = ctypes.c_void_p()
        try:
            try:
                queue()
            finally:  # a stream left capturing accepts no other work
                status = driver.status_of("cuStreamEndCapture", self._stream, ctypes.byref(graph))
            driver.check("cuStreamEndCapture", status)
            made, flags = ctypes.byref(self._executable), ctypes.c_ulonglong(0)
            driver.call("cuGraphInstantiateWithFlags", made, graph, flags)
        finally:
            if graph:
                driver.status_of("cuGraphDestroy", graph)

    def launch(self) -> None:
        """Queue the captured work."""
        self._driver.call("cuGraphLaunch", self._executable, self._stream)

    def close(self) -> None:
        """Free the graph."""
        self._driver.call("cuGraphExecDestroy", self._executable)


class GraphsBySize(Generic[Graph]):
    """The graphs of window passes, one per fixed batch size, from its second pass on.

    The first pass sets up kernels and memory, which a capture must not contain.

    Attributes:
        can_capture: whether to make further graphs; false after the first failure.
    """

    def __init__(self, *, can_capture: bool = True) -> None:
        self.can_capture = can_capture
        self._graphs: dict[int, Graph | None] = {}

    def find(self, batch: int, make: Callable[[], Graph | None]) -> Graph | None:
        """Return the graph of a size, made now if it is due; None if the pass runs without one."""
        if self.can_capture and batch in self._graphs and self._graphs[batch] is None:
            self.can_capture = False  # stays so if making it fails
            self._graphs[batch] = make()
            self.can_capture = self._graphs[batch] is not None
        return self._graphs.get(batch)

    def note_pass(self, batch: int) -> None:
        """Record that a pass of a size succeeded; a failed one has set nothing up."""
        if batch in CAPTURED_BATCHES:
            self._graphs.setdefault(batch, None)

    def made(self) -> Iterable[Graph]:
        """Return all graphs."""
        return [graph for graph in self._graphs.values() if graph is not None]


def capture(stream: int, queue: Callable[[], None]) -> CudaGraph | None:
    """Make a graph of work, or log a warning and return None if the runtime cannot be captured.

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
