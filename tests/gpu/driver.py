"""Load the kernels' PTX and launch it through CUDA's driver, as an engine does.

An engine has the PTX, the name, the grid, the threads and the arguments in order, and neither
Triton nor PyTorch. The driver's library is wherever a GPU is.
"""

import ctypes
from collections.abc import Sequence
from typing import Any

from gpu_check.subject import CannotRunError
from istvt.kernels.compile import PLAIN_SHARED_BYTES, TARGETS, CompiledKernel
from istvt.runtime.backends.cuda.driver import CudaDriver

NUM_REGS, LOCAL_SIZE_BYTES, MAX_DYNAMIC_SHARED = 4, 3, 8  # CUfunction_attribute, cuda.h


class DriverKernel:
    """A kernel that the driver compiled from PTX; needs a current context.

    Args:
        compiled: PTX and how to launch it.
        library: the driver's, for tests.

    Raises:
        BackendError: there is no driver, or it does not take the PTX.
    """

    def __init__(self, compiled: CompiledKernel, *, library: Any = None) -> None:
        self._compiled = compiled
        driver = self._driver = CudaDriver(library)
        self._module, self._function = ctypes.c_void_p(), ctypes.c_void_p()
        driver.call("cuModuleLoadData", ctypes.byref(self._module), compiled.ptx.encode())
        name = compiled.name.encode()
        driver.call("cuModuleGetFunction", ctypes.byref(self._function), self._module, name)
        if compiled.shared_bytes > PLAIN_SHARED_BYTES:
            shared = ctypes.c_int(compiled.shared_bytes)
            driver.call("cuFuncSetAttribute", self._function, MAX_DYNAMIC_SHARED, shared)

    def attribute(self, number: int) -> int:
        """Ask what the driver's compiler made of the kernel."""
        value = ctypes.c_int()
        self._driver.call("cuFuncGetAttribute", ctypes.byref(value), number, self._function)
        return value.value

    def launch(self, *, batch: int, num_columns: int, qkv: int, mixed: int, stream: int) -> None:
        """Queue the kernel on a stream; tensors are addresses."""
        values: dict[str, Any] = {
            "qkv": ctypes.c_void_p(qkv),
            "num_columns": ctypes.c_int32(num_columns),
            "mixed": ctypes.c_void_p(mixed),
        }
        pointers = _pointers_to([values[name] for name in self._compiled.arguments])
        self._driver.call(
            "cuLaunchKernel",
            self._function,
            *self._compiled.grid(batch, num_columns),
            *(self._compiled.num_threads, 1, 1),
            self._compiled.shared_bytes,
            ctypes.c_void_p(stream),
            pointers,
            None,
        )

    def close(self) -> None:
        """Unload the code."""
        self._driver.call("cuModuleUnload", self._module)


def capability(torch: Any) -> int:
    """Give the GPU's compute capability as `compile_ptx` takes it.

    Raises:
        CannotRunError: none of its targets is this GPU.
    """
    major, minor = torch.cuda.get_device_capability()
    found = 10 * major + minor
    if found not in TARGETS:
        known = ", ".join(map(str, TARGETS))
        raise CannotRunError(f"PTX is made for compute capability {known}; this GPU has {found}")
    return int(found)


def _pointers_to(values: Sequence[Any]) -> Any:
    addresses = [ctypes.cast(ctypes.pointer(value), ctypes.c_void_p) for value in values]
    pointers = (ctypes.c_void_p * len(values))(*addresses)
    pointers.values = values  # type: ignore[attr-defined]  # they must live as long
    return pointers
