"""Compile a kernel to PTX for a compute capability, without a GPU."""

from dataclasses import dataclass
from typing import Any

from istvt.errors import RuntimeEnvironmentError, UsageError
from istvt.extras import require
from istvt.kernels.ptx import Loads, assemble, count_loads, count_parameters, drop_parameters
from istvt.kernels.source import triton_kernel
from istvt.kernels.spec import KernelSpec

# The oldest PTX version that has the target, so that older drivers accept it too.
PTX_VERSIONS = {80: 80, 86: 80, 87: 80, 89: 80, 90: 80, 120: 87}
TARGETS = tuple(PTX_VERSIONS)

ARGUMENTS = ("qkv", "num_columns", "mixed")  # pointer, int32, pointer
SCRATCH_POINTERS = 2  # appended to the arguments by Triton 3.6 to 3.9
ALIGNMENT_BYTES = 16  # of both pointers; TensorRT and CUDA align to 256
PLAIN_SHARED_BYTES = 48 << 10  # beyond this, a kernel must request shared memory from the driver


@dataclass(frozen=True)
class CompiledKernel:
    """PTX for one target, with all that its launch needs.

    Attributes:
        spec: the kernel it was compiled for; `spec.grid(batch, num_columns)` is its grid.
        compute_capability: 80, 86, ...
        name: name of the entry point.
        ptx: the code; its only parameters are `arguments`.
        num_threads: threads per block, along x.
        shared_bytes: dynamic shared memory per block.
        num_registers: registers per thread.
        spill_bytes: spilled bytes per thread.
        loads: instructions that read global memory.
        arguments: pointers are aligned to 16 bytes; `num_columns` is an int32.
    """

    spec: KernelSpec
    compute_capability: int
    name: str
    ptx: str
    num_threads: int
    shared_bytes: int
    num_registers: int
    spill_bytes: int
    loads: Loads
    arguments: tuple[str, ...] = ARGUMENTS

    def grid(self, batch: Any, num_columns: Any) -> tuple[Any, Any, Any]:
        """Count the blocks; see `KernelSpec.grid`."""
        return self.spec.grid(batch, num_columns)


def compile_ptx(spec: KernelSpec, *, compute_capability: int) -> CompiledKernel:
    """Compile a kernel ahead of time; one version of Triton always produces the same PTX.

    Args:
        spec: the kernel.
        compute_capability: one of `TARGETS`; the device itself is not needed.

    Raises:
        UsageError: no such target.
        MissingExtraError: Triton is not installed.
        RuntimeEnvironmentError: Triton is in interpreter mode, or its result is unusable.
    """
    if compute_capability not in PTX_VERSIONS:
        known = ", ".join(map(str, TARGETS))
        raise UsageError(f"compute capability is {compute_capability}: expected one of {known}")
    compiled = _compile(spec, compute_capability)
    metadata = compiled.metadata
    ptx = _without_scratch(compiled.asm["ptx"], metadata)
    get_ptxas = require("triton.backends.nvidia.compiler", extra="gpu").get_ptxas
    assembly = assemble(ptx, ptxas=get_ptxas(compute_capability).path)
    return CompiledKernel(
        spec=spec,
        compute_capability=compute_capability,
        name=metadata.name,
        ptx=ptx,
        num_threads=32 * metadata.num_warps,
        shared_bytes=metadata.shared,
        num_registers=assembly.num_registers,
        spill_bytes=assembly.spill_bytes,
        loads=count_loads(ptx),
    )


def _compile(spec: KernelSpec, compute_capability: int) -> Any:
    triton = require("triton", extra="gpu")
    compiler = require("triton.compiler", extra="gpu")
    target = require("triton.backends.compiler", extra="gpu").GPUTarget
    kernel = triton_kernel(spec.attention)
    if not isinstance(kernel, triton.JITFunction):
        raise RuntimeEnvironmentError("TRITON_INTERPRET is set: unset it to compile kernels")
    pointer = f"*{spec.dtype}"
    signature = {"qkv": pointer, "num_columns": "i32", "mixed": pointer}
    signature |= dict.fromkeys(spec.constants, "constexpr")
    aligned = [["tt.divisibility", ALIGNMENT_BYTES]]
    source = compiler.ASTSource(
        kernel, signature, constexprs=spec.constants, attrs={(0,): aligned, (2,): aligned}
    )
    options = {**spec.options, "ptx_version": PTX_VERSIONS[compute_capability]}
    with triton.knobs.compilation.scope():
        triton.knobs.compilation.disable_line_info = True  # it holds the source's folder
        return triton.compile(
            source, target=target("cuda", compute_capability, 32), options=options
        )


def _without_scratch(ptx: str, metadata: Any) -> str:
    """Drop the pointers to scratch memory, which Triton's own launcher would pass."""
    if metadata.global_scratch_size or metadata.profile_scratch_size:
        raise RuntimeEnvironmentError(
            f"the kernel asks for {metadata.global_scratch_size} and "
            f"{metadata.profile_scratch_size} bytes of scratch memory: expected none"
        )
    extra = count_parameters(ptx) - len(ARGUMENTS)
    if extra != SCRATCH_POINTERS:
        raise RuntimeEnvironmentError(
            f"the PTX has {extra} more parameters than the kernel: expected {SCRATCH_POINTERS}; "
            "is the version of Triton outside 3.6 to 3.9?"
        )
    return drop_parameters(ptx, extra)
