"""The fillings of `Device` and the CUDA graphs, over stand-ins for the packages' modules."""

import ctypes
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest

from istvt.compute import device_error
from istvt.errors import (
    BackendError,
    DeviceLostError,
    DeviceMemoryError,
    MissingExtraError,
)
from istvt.runtime.backends.cuda import cuda_python as device_cuda_python
from istvt.runtime.backends.cuda import open as open_device
from istvt.runtime.backends.cuda import pycuda as device_pycuda
from istvt.runtime.backends.cuda.graph import CudaGraph

# What cuGetErrorString gives for what names in cuda.h.
TEXTS = {
    "CUDA_ERROR_OUT_OF_MEMORY": "out of memory",
    "CUDA_ERROR_DEINITIALIZED": "driver shutting down",
    "CUDA_ERROR_ECC_UNCORRECTABLE": "uncorrectable ECC error encountered",
    "CUDA_ERROR_ILLEGAL_ADDRESS": "an illegal memory access was encountered",
    "CUDA_ERROR_ILLEGAL_STATE": "the operation cannot be performed in the present state",
    "CUDA_ERROR_LAUNCH_TIMEOUT": "the launch timed out and was terminated",
    "CUDA_ERROR_CONTEXT_IS_DESTROYED": "context is destroyed",
    "CUDA_ERROR_ASSERT": "device-side assert triggered",
    "CUDA_ERROR_HARDWARE_STACK_ERROR": "hardware stack error",
    "CUDA_ERROR_ILLEGAL_INSTRUCTION": "an illegal instruction was encountered",
    "CUDA_ERROR_MISALIGNED_ADDRESS": "misaligned address",
    "CUDA_ERROR_INVALID_ADDRESS_SPACE": "operation not supported on global/shared address space",
    "CUDA_ERROR_INVALID_PC": "invalid program counter",
    "CUDA_ERROR_LAUNCH_FAILED": "unspecified launch failure",
    "CUDA_ERROR_INVALID_VALUE": "invalid argument",
    "CUDA_ERROR_UNKNOWN": "unknown error",
}
HARMLESS = ("CUDA_ERROR_ILLEGAL_STATE", "CUDA_ERROR_INVALID_VALUE")


class FakeDriver:
    """Answers as `cuda.bindings.driver`: (status, results...)."""

    CUresult = SimpleNamespace(CUDA_SUCCESS=0)
    CUdevice_attribute = SimpleNamespace(
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR="major",
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR="minor",
    )
    CUstream_flags = SimpleNamespace(CU_STREAM_NON_BLOCKING=1)

    def __init__(self, **statuses):
        self.statuses, self.calls = statuses, []

    def cuGetErrorString(self, status):
        return 0, TEXTS.get(status.name, "it is broken").encode()

    def __getattr__(self, name):
        results = {
            "cuDeviceGetAttribute": {"major": 8, "minor": 9},
            "cuDeviceGetName": b"NVIDIA Test\0\0\0",
            "cuDriverGetVersion": 13010,
            "cuMemAlloc": 4096,
            "cuStreamCreate": 77,
        }

        def call(*arguments):
            self.calls.append((name, arguments))
            status = self.statuses.get(name, 0)
            result = results.get(name, name)
            if isinstance(result, dict):
                result = result[arguments[0]]
            return (SimpleNamespace(name=status) if status else 0, result)

        return call


def cuda_python(monkeypatch, **statuses):
    driver = FakeDriver(**statuses)
    monkeypatch.setattr(device_cuda_python, "require", lambda module, extra: driver)
    return driver


def test_cuda_python_queues_on_one_stream_in_the_primary_context(monkeypatch):
    driver = cuda_python(monkeypatch)
    gpu = device_cuda_python.CudaPythonDevice()
    assert (gpu.name, gpu.compute_capability, gpu.driver) == ("NVIDIA Test", 89, 13010)
    pinned = gpu.pinned(16)
    driver.calls.clear()
    with gpu.active():
        gpu.copy_in(4096, pinned)
        gpu.copy(8192, 4096, 16)
        gpu.copy_out(pinned, 8192)
        gpu.wait(gpu.record())
        gpu.synchronize()
    here = pinned.ctypes.data
    assert driver.calls == [
        ("cuCtxPushCurrent", ("cuDevicePrimaryCtxRetain",)),
        ("cuMemcpyHtoDAsync", (4096, here, 16, 77)),
        ("cuMemcpyDtoDAsync", (8192, 4096, 16, 77)),
        ("cuMemcpyDtoHAsync", (here, 8192, 16, 77)),
        ("cuEventCreate", (2,)),
        ("cuEventRecord", ("cuEventCreate", 77)),
        ("cuEventSynchronize", ("cuEventCreate",)),
        ("cuEventDestroy", ("cuEventCreate",)),
        ("cuStreamSynchronize", (77,)),
        ("cuCtxPopCurrent", ()),
    ]
    driver.calls.clear()
    gpu.close()
    names = [name for name, _ in driver.calls]
    assert names == [
        "cuCtxPushCurrent",
        "cuMemHostUnregister",
        "cuStreamDestroy",
        "cuCtxPopCurrent",
    ]
    driver.calls.clear()
    device_cuda_python.CudaPythonDevice().close()
    names = [name for name, _ in driver.calls]
    assert not [name for name in names if "PrimaryCtx" in name], "held, and held once"
    assert names.count("cuCtxPushCurrent") == names.count("cuCtxPopCurrent") == 2


def test_what_was_not_given_back_is_freed_at_the_end(monkeypatch):
    driver = cuda_python(monkeypatch)
    gpu = device_cuda_python.CudaPythonDevice()
    gpu.allocate(16)
    gpu.close()
    assert ("cuMemFree", (4096,)) in driver.calls
    driver.calls.clear()
    other = device_cuda_python.CudaPythonDevice()
    other.free(other.allocate(16))
    other.close()
    assert [name for name, _ in driver.calls].count("cuMemFree") == 1


LOST = "CUDA_ERROR_ILLEGAL_ADDRESS"


def test_a_lost_device_is_closed_without_an_error(monkeypatch, caplog):
    names = ("cuMemFree", "cuCtxPopCurrent")
    driver = cuda_python(monkeypatch)
    gpu = device_cuda_python.CudaPythonDevice()
    gpu.allocate(16)
    driver.statuses = dict.fromkeys(names, LOST)
    gpu.close()
    assert f"freed: cuMemFree failed on the GPU: {TEXTS[LOST]} ({LOST})" in caplog.text


def test_leaving_the_context_hides_no_error(monkeypatch):
    driver = cuda_python(monkeypatch)
    gpu = device_cuda_python.CudaPythonDevice()
    driver.statuses = {"cuCtxPopCurrent": LOST}
    with pytest.raises(ValueError, match="the first"), gpu.active():
        raise ValueError("the first")
    with pytest.raises(DeviceLostError, match="cuCtxPopCurrent"), gpu.active():
        pass


@pytest.mark.parametrize("status", TEXTS)
def test_the_drivers_errors_become_ours(monkeypatch, status):
    cuda_python(monkeypatch, cuMemAlloc=status)
    error = BackendError if status in HARMLESS else DeviceLostError
    error = DeviceMemoryError if "MEMORY" in status else error
    gpu = device_cuda_python.CudaPythonDevice()
    with pytest.raises(error, match=status) as told:
        gpu.allocate(10)
    assert type(told.value) is error


def test_a_status_that_the_bindings_do_not_know_is_an_error_of_ours(monkeypatch):
    driver = cuda_python(monkeypatch)
    gpu = device_cuda_python.CudaPythonDevice()

    def call(size):
        raise ValueError("12345 is not a valid CUresult")

    driver.cuMemAlloc = call
    with pytest.raises(BackendError, match="12345"):
        gpu.allocate(10)


@pytest.mark.parametrize(
    "text",
    [
        "BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 9",
        "Error Code 2: OutOfMemory (Requested size was 1024 bytes.)",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "std::bad_alloc",
    ],
)
def test_every_librarys_want_of_memory_is_known(text):
    assert isinstance(device_error("running", text), DeviceMemoryError)


def test_no_gpu_is_told(monkeypatch):
    cuda_python(monkeypatch, cuInit="CUDA_ERROR_NO_DEVICE")
    with pytest.raises(BackendError, match="NO_DEVICE"):
        device_cuda_python.CudaPythonDevice()


@pytest.mark.skipif(
    not (find_spec("cuda") and find_spec("cuda.bindings")), reason="cuda-python is not installed"
)
def test_the_real_bindings_have_every_name_that_is_used():
    import re
    from pathlib import Path

    from cuda.bindings import driver

    text = Path(device_cuda_python.__file__).read_text()
    names = re.findall(r'"(cu[A-Z]\w+)"', text)
    assert len(names) > 15
    assert [name for name in names if not hasattr(driver, name)] == []


class FakePyCuda:
    """The names of `pycuda.driver` that are used, as its 2026.1 sources have them."""

    class Error(Exception):
        pass

    class MemoryError(Error):
        pass

    event_flags = SimpleNamespace(DISABLE_TIMING=2)

    def __init__(self):
        self.calls = []
        self.fails = None
        self.Device = lambda index: SimpleNamespace(
            retain_primary_context=self.retain,
            compute_capability=lambda: (12, 0),
            name=lambda: "NVIDIA Test",
        )
        self.Stream = lambda flags: SimpleNamespace(
            handle=77, synchronize=lambda: self.note("synchronize")
        )
        self.Event = lambda flags: SimpleNamespace(
            record=lambda stream: self.calls.append("record")
        )

    def init(self):
        pass

    def retain(self):
        self.calls.append("retain")
        return SimpleNamespace(
            push=lambda: self.calls.append("push"),
            pop=lambda: self.leave("pop"),
            detach=lambda: self.leave("detach"),
        )

    def leave(self, call):
        self.calls.append(call)
        if self.fails:
            raise self.fails

    def get_driver_version(self):
        return 13010

    def note(self, *call):
        if self.fails:
            raise self.fails
        self.calls.append(call)

    def mem_alloc(self, num_bytes):
        self.note("alloc", num_bytes)
        owner = self

        class Allocation(int):
            def free(self):
                owner.calls.append("free")

        return Allocation(4096)

    def pagelocked_empty(self, shape, dtype):
        """An array whose base is what can be freed, as PyCUDA gives."""
        memory = np.zeros(shape, dtype)
        base = SimpleNamespace(
            __array_interface__=memory.__array_interface__,
            free=lambda: self.calls.append("free pinned"),
        )
        return np.asarray(base)

    def memcpy_htod_async(self, target, source, stream):
        self.note("in", target, stream.handle)

    def memcpy_dtoh_async(self, target, source, stream):
        self.note("out", source, stream.handle)

    def memcpy_dtod_async(self, target, source, size, stream):
        self.note("within", target, source, size, stream.handle)


def test_pycuda_does_the_same(monkeypatch):
    package = FakePyCuda()
    monkeypatch.setattr(device_pycuda, "require", lambda module, extra: package)
    gpu = device_pycuda.PyCudaDevice()
    assert (gpu.compute_capability, gpu.stream, gpu.driver) == (120, 77, 13010)
    package.calls.clear()
    with gpu.active():
        address = gpu.allocate(10)
        gpu.copy_in(address, gpu.pinned(10))
        gpu.copy(8192, address, 10)
        gpu.copy_out(gpu.pinned(10), 8192)
        gpu.record()
        gpu.free(address)
    assert package.calls == [
        "push",
        ("alloc", 10),
        ("in", 4096, 77),
        ("within", 8192, 4096, 10, 77),
        ("out", 8192, 77),
        "record",
        "free",
        "pop",
    ]
    package.calls.clear()
    gpu.close()
    assert package.calls == ["push", "free pinned", "free pinned", "pop"]
    package.calls.clear()
    device_pycuda.PyCudaDevice().close()
    assert package.calls == ["push", "pop"] * 2, "the context is held, and held once"
    package.fails = FakePyCuda.MemoryError("cuMemAlloc failed: out of memory")
    with pytest.raises(DeviceMemoryError, match="smaller --max-batch"):
        gpu.allocate(10)


def test_pycuda_closes_a_lost_device_and_hides_no_error(monkeypatch, caplog):
    package = FakePyCuda()
    monkeypatch.setattr(device_pycuda, "require", lambda module, extra: package)
    gpu = device_pycuda.PyCudaDevice()
    package.fails = FakePyCuda.Error("cuCtxPopCurrent failed: an illegal memory access")
    with pytest.raises(ValueError, match="the first"), gpu.active():
        raise ValueError("the first")
    gpu.close()
    assert "freed: leaving the context failed" in caplog.text


@pytest.mark.parametrize(
    ("installed", "module"),
    [({"pycuda", "cuda", "cuda.bindings"}, device_pycuda), ({"cuda", "cuda.bindings"}, None)],
)
def test_pycuda_comes_first_and_cuda_python_stands_in(monkeypatch, installed, module):
    monkeypatch.setattr(open_device, "find_spec", lambda name: name in installed or None)
    monkeypatch.setattr(device_pycuda, "PyCudaDevice", lambda index: "pycuda")
    monkeypatch.setattr(device_cuda_python, "CudaPythonDevice", lambda index: "cuda-python")
    assert open_device.open_device() == ("pycuda" if module else "cuda-python")


def test_without_either_both_are_named(monkeypatch):
    monkeypatch.setattr(open_device, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'istvt\[rtx\]'"):
        open_device.open_device()


class FakeLibrary:
    """Answers as libcuda: 0, or a number."""

    def __init__(self, **statuses):
        self.statuses, self.calls = statuses, []

    def __getattr__(self, name):
        def call(*arguments):
            self.calls.append(name)
            if name == "cuStreamEndCapture" and name not in self.statuses:
                arguments[1]._obj.value = 5
            if name == "cuGetErrorString":
                arguments[1]._obj.value = b"operation not permitted when stream is capturing"
            return self.statuses.get(name, 0)

        return call


def test_a_graph_captures_and_launches():
    library = FakeLibrary()
    graph = CudaGraph(7, lambda: library.calls.append("work"), library=library)
    graph.launch()
    graph.close()
    assert library.calls == [
        "cuStreamBeginCapture_v2",
        "work",
        "cuStreamEndCapture",
        "cuGraphInstantiateWithFlags",
        "cuGraphDestroy",
        "cuGraphLaunch",
        "cuGraphExecDestroy",
    ]


def test_a_capture_ends_even_where_its_work_fails():
    library = FakeLibrary()

    def work():
        raise EngineBroke

    class EngineBroke(Exception):
        pass

    with pytest.raises(EngineBroke):
        CudaGraph(7, work, library=library)
    assert library.calls[-2:] == ["cuStreamEndCapture", "cuGraphDestroy"]
    unfit = FakeLibrary(cuGraphInstantiateWithFlags=1)
    with pytest.raises(BackendError, match="cuGraphInstantiate"):
        CudaGraph(7, lambda: None, library=unfit)
    assert unfit.calls[-1] == "cuGraphDestroy"
    refused = FakeLibrary(cuStreamEndCapture=901)
    with pytest.raises(BackendError, match=r"cuStreamEndCapture failed.*not permitted"):
        CudaGraph(7, lambda: None, library=refused)


def test_the_real_library_is_missing_here_or_loads():
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        with pytest.raises(BackendError, match="no NVIDIA driver"):
            CudaGraph(7, lambda: None)
