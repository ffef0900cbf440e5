"""What is handed to the driver, over a stand-in for its library; PTX itself needs a GPU."""

import ctypes
from typing import Any

import pytest

from istvt.errors import BackendError, DeviceLostError
from istvt.kernels.compile import CompiledKernel
from istvt.kernels.ptx import Loads
from istvt.kernels.spec import KernelSpec
from tests.gpu.driver import DriverKernel

KERNEL = CompiledKernel(
    spec=KernelSpec("temporal", 7, 8, 64, "fp16"),
    compute_capability=89,
    name="attend_over_time",
    ptx=".version 8.0",
    num_threads=64,
    shared_bytes=1024,
    num_registers=160,
    spill_bytes=0,
    loads=Loads(vector=1, narrower=0),
)


class FakeDriver:
    """Reads the arguments of a launch as the driver does: through pointers to their values."""

    def __init__(self, *, fails_at: str = "", reason: str = "") -> None:
        self.calls: dict[str, tuple[Any, ...]] = {}
        self.arguments: tuple[int, ...] = ()
        self._fails_at, self._reason = fails_at, reason

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            self.calls[name] = arguments
            if name == "cuLaunchKernel":
                types = (ctypes.c_uint64, ctypes.c_int32, ctypes.c_uint64)
                self.arguments = tuple(
                    ctypes.cast(pointer, ctypes.POINTER(kind)).contents.value
                    for pointer, kind in zip(arguments[9], types, strict=True)
                )
            return 700 if name == self._fails_at else 0

        return call

    def cuGetErrorString(self, status: int, text: Any) -> int:
        text._obj.value = self._reason.encode()
        return 0


def launch(driver: FakeDriver) -> None:
    kernel = DriverKernel(KERNEL, library=driver)
    kernel.launch(batch=3, num_columns=362, qkv=0x7F0000000010, mixed=0x7F0000500020, stream=77)


def test_arguments_in_the_order_of_an_engine() -> None:
    driver = FakeDriver()
    launch(driver)
    assert driver.arguments == (0x7F0000000010, 362, 0x7F0000500020)


def test_grid_threads_shared_memory_and_stream() -> None:
    driver = FakeDriver()
    launch(driver)
    _, *sizes, stream, pointers, extra = driver.calls["cuLaunchKernel"]
    assert tuple(sizes) == (*KERNEL.grid(3, 362), 64, 1, 1, 1024)
    assert stream.value == 77
    assert len(pointers) == 3  # and no scratch pointers behind them
    assert extra is None


def test_code_and_name_are_those_compiled() -> None:
    driver = FakeDriver()
    launch(driver)
    assert driver.calls["cuModuleLoadData"][1] == b".version 8.0"
    assert driver.calls["cuModuleGetFunction"][2] == b"attend_over_time"
    assert "cuFuncSetAttribute" not in driver.calls


@pytest.mark.parametrize(
    ("step", "reason", "error"),
    [
        ("cuModuleLoadData", "a PTX JIT compilation failed", BackendError),
        ("cuLaunchKernel", "an illegal memory access was encountered", DeviceLostError),
    ],
)
def test_the_driver_says_what_is_wrong(step: str, reason: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=rf"{step} failed on the GPU: {reason}"):
        launch(FakeDriver(fails_at=step, reason=reason))
