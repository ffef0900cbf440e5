"""A GPU, TensorRT and its engines without a GPU: addresses are real, work waits until it must.

Nothing that is queued happens before somebody waits, so that a buffer which is used again too
early, or an answer that is read before it is there, shows.
"""

import ctypes
import enum
from contextlib import contextmanager

import numpy as np

from istvt.errors import DeviceLostError, DeviceMemoryError


def view(address, num_bytes):
    """The bytes at an address."""
    return np.ctypeslib.as_array((ctypes.c_uint8 * num_bytes).from_address(address))


class FakeDevice:
    """See `Device`; memory is the host's, the stream is a list."""

    def __init__(self, *, memory_bytes=1 << 30, compute_capability=89, driver=13010):
        self.name, self.compute_capability, self.driver, self.stream = (
            "fake",
            compute_capability,
            driver,
            7,
        )
        self.memory_bytes = memory_bytes
        self.buffers = {}
        self.queue = []
        self.depth = self.waits = self.synchronizations = 0
        self.is_closed = self.is_lost = False

    def check(self):
        if self.is_lost:
            raise DeviceLostError("a later call failed on the GPU: it is lost")

    @contextmanager
    def active(self):
        self.check()
        self.depth += 1
        yield
        self.depth -= 1

    def allocate(self, num_bytes):
        assert self.depth
        used = sum(buffer.nbytes for buffer in self.buffers.values())
        if used + num_bytes > self.memory_bytes:
            raise DeviceMemoryError(f"cuMemAlloc failed on the GPU: {num_bytes} bytes")
        buffer = np.full(num_bytes, 0x7F, np.uint8)  # as a float it is large
        self.buffers[buffer.ctypes.data] = buffer
        return buffer.ctypes.data

    def free(self, address):
        self.check()
        assert not self.queue, "freed while work that may use it is queued"
        del self.buffers[address]

    def pinned(self, num_bytes):
        return np.full(num_bytes, 0x7F, np.uint8)

    def copy_in(self, target, source):
        self.enqueue(lambda: np.copyto(view(target, source.nbytes), source))

    def copy_out(self, target, source):
        self.enqueue(lambda: np.copyto(target, view(source, target.nbytes)))

    def copy(self, target, source, num_bytes):
        self.enqueue(lambda: np.copyto(view(target, num_bytes), view(source, num_bytes)))

    def enqueue(self, work):
        assert self.depth, "used outside active()"
        self.queue.append(work)

    def record(self):
        return len(self.queue) and self.queue[-1]

    def wait(self, mark):
        self.waits += 1
        while mark in self.queue:
            self.queue.pop(0)()

    def synchronize(self):
        self.check()
        self.synchronizations += 1
        while self.queue:
            self.queue.pop(0)()

    def close(self):
        self.is_closed = True


class FakeTensorRT:
    """The few names of either library that a runner uses; an engine is the path of an ONNX file."""

    __name__ = "tensorrt_rtx"
    __version__ = "1.7.1"

    class ILogger:
        class Severity:
            INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    class TensorIOMode:
        INPUT, OUTPUT = "in", "out"

    ComputeCapability = enum.Enum("ComputeCapability", "NONE CURRENT SM75 SM86 SM89 SM120")

    class ExecutionContextAllocationStrategy:
        USER_MANAGED = "managed"

    class DynamicShapesKernelSpecializationStrategy:
        EAGER = "eager"

    class CudaGraphStrategy:
        WHOLE_GRAPH_CAPTURE = "whole"

    def __init__(self, device, *, fails_at=None, says="it is broken"):
        self.device, self.fails_at, self.says = device, fails_at, says
        self.contexts, self.caches = [], []

    def Runtime(self, log):
        runtime = FakeRuntime(self, log)
        if runtime.fail("start"):  # as pybind11 does where the constructor gives none
            raise TypeError("pybind11::init(): factory function returned nullptr")
        return runtime


class FakeRuntime:
    def __init__(self, trt, log):
        self.trt, self.log = trt, log

    def fail(self, step):
        if self.trt.fails_at == step:
            self.log.log(FakeTensorRT.ILogger.Severity.ERROR, self.trt.says)
            self.trt.device.is_lost = "illegal" in self.trt.says
            return True
        return False

    def deserialize_cuda_engine(self, content):
        return None if self.fail("load") else FakeEngine(self, content.decode())


class FakeEngine:
    num_io_tensors = 2
    device_memory_size_v2 = 640

    def __init__(self, runtime, path):
        import onnxruntime

        self.runtime = runtime
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.source, self.target = self.session.get_inputs()[0], self.session.get_outputs()[0]

    def get_tensor_name(self, index):
        return (self.target.name, self.source.name)[index]  # in no order of use

    def get_tensor_mode(self, name):
        return "in" if name == self.source.name else "out"

    def get_tensor_shape(self, name):
        return (-1, *self.source.shape[1:])

    def create_runtime_config(self):
        return FakeConfig(self.runtime.trt)

    def create_execution_context(self, config=None):
        if self.runtime.fail("context"):
            return None
        context = FakeContext(self, config)
        self.runtime.trt.contexts.append(context)
        return context


class FakeConfig:
    cuda_graph_strategy = dynamic_shapes_kernel_specialization_strategy = None

    def __init__(self, trt):
        self.trt = trt

    def create_runtime_cache(self):
        self.trt.caches.append(FakeCache())
        return self.trt.caches[-1]

    def set_runtime_cache(self, cache):
        return True


class FakeCache:
    content = b""

    def deserialize(self, content):
        self.content = content
        return True

    def serialize(self):
        return self.content + b"!"


class FakeContext:
    def __init__(self, engine, config):
        self.engine, self.config = engine, config
        self.shape, self.addresses, self.batches = None, {}, []
        self.scratch = None

    def set_device_memory(self, address, num_bytes):
        self.scratch = (address, num_bytes)

    def set_input_shape(self, name, shape):
        self.shape = shape
        return True

    def set_tensor_address(self, name, address):
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream):
        engine = self.engine
        if engine.runtime.fail("run"):
            return False
        shape, addresses = self.shape, dict(self.addresses)
        self.batches.append(shape[0])

        def work():
            kind = np.uint8 if engine.source.type == "tensor(uint8)" else np.float32
            count = int(np.prod(shape)) * np.dtype(kind).itemsize
            values = view(addresses[engine.source.name], count).view(kind).reshape(shape).copy()
            result = engine.session.run(None, {engine.source.name: values})[0]
            flat = np.frombuffer(result.tobytes(), np.uint8)
            np.copyto(view(addresses[engine.target.name], flat.nbytes), flat)

        engine.runtime.trt.device.enqueue(work)
        return True


def graphs_on(device, *, error=None):
    """Make a stand-in for `CudaGraph` that holds what was queued while it was made, or fails."""

    made = []

    class FakeGraph:
        def __init__(self, stream, queue):
            before = len(device.queue)
            queue()
            self.work = device.queue[before:]
            del device.queue[before:]
            if error:
                raise error
            self.launches = 0
            made.append(self)

        def launch(self):
            self.launches += 1
            for work in self.work:
                device.enqueue(work)

        def close(self):
            pass

    FakeGraph.made = made
    return FakeGraph
