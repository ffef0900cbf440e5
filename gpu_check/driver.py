"""The kernels' PTX, compiled ahead of time, loaded and launched through CUDA's driver.

An engine does the same: it has the PTX, the name, the grid, the threads and the arguments in
order, and neither Triton nor PyTorch. Through the driver's library, which is wherever a GPU is.
"""

import ctypes
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from gpu_check.check import Check
from gpu_check.guarded import Case, shape_of, worst_error
from gpu_check.result import CannotRunError, Outcome, Settings
from istvt.extras import require
from istvt.kernels.compile import (
    ALIGNMENT_BYTES,
    PLAIN_SHARED_BYTES,
    TARGETS,
    CompiledKernel,
    compile_ptx,
)
from istvt.kernels.spec import ITEM_BYTES, AttentionName, KernelSpec
from istvt.records import FloatPrecision
from istvt.runtime.backends.cuda.driver import CudaDriver

if TYPE_CHECKING:
    from torch import Tensor

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


def check_launch(settings: Settings, *, attention: AttentionName, dtype: FloatPrecision) -> Outcome:
    """Compile for this GPU, load, launch, and compare with the formula in fp64.

    Raises:
        CannotRunError: in a rehearsal, or no PTX is made for this GPU.
        MissingExtraError: PyTorch or Triton is not installed.
    """
    torch, _ = require("torch", extra="gpu"), require("triton", extra="gpu")
    if settings.device != "cuda":
        raise CannotRunError("a rehearsal has no CUDA driver")
    torch.zeros(1, device="cuda")  # makes the primary context the current one
    num_rows, num_heads, head_dim, num_columns = shape_of(settings.preset)
    spec = KernelSpec(attention, num_rows, num_heads, head_dim, dtype)
    compiled = compile_ptx(spec, compute_capability=capability(torch))
    start_s = time.perf_counter()
    kernel = DriverKernel(compiled)
    loaded_s = time.perf_counter() - start_s
    errors = [
        worst_error(
            Case(spec, batch, columns, offset),
            partial(_launch, kernel),
            device="cuda",
        )
        for batch, columns in ((1, num_columns), (8, num_columns), (3, 5))
        for offset in (0, ALIGNMENT_BYTES // ITEM_BYTES[dtype])
    ]
    figures = {
        "worst_of_allowed": max(errors),
        "registers": kernel.attribute(NUM_REGS),
        "registers_expected": compiled.num_registers,
        "spilled_bytes": kernel.attribute(LOCAL_SIZE_BYTES),
        "load_ms": 1e3 * loaded_s,
    }
    kernel.close()
    return Outcome(figures, passed=max(errors) <= 1)


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


def _launch(kernel: DriverKernel, qkv: "Tensor", mixed: "Tensor") -> None:
    import torch

    kernel.launch(
        batch=qkv.shape[0],
        num_columns=qkv.shape[2],
        qkv=qkv.data_ptr(),
        mixed=mixed.data_ptr(),
        stream=torch.cuda.current_stream().cuda_stream,
    )


def _pointers_to(values: Sequence[Any]) -> Any:
    addresses = [ctypes.cast(ctypes.pointer(value), ctypes.c_void_p) for value in values]
    pointers = (ctypes.c_void_p * len(values))(*addresses)
    pointers.values = values  # type: ignore[attr-defined]  # they must live as long
    return pointers


def _checks() -> dict[str, Check]:
    attentions: tuple[AttentionName, ...] = ("temporal", "spatial")
    types: tuple[FloatPrecision, ...] = ("fp16", "bf16", "fp32")
    return {
        f"{attention} {dtype}": partial(check_launch, attention=attention, dtype=dtype)
        for attention in attentions
        for dtype in types
    }


CHECKS = _checks()
