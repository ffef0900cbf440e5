"""The kernels' PTX, compiled ahead of time, through CUDA's driver against the formula in fp64."""

from functools import partial

import pytest

from gpu_check.kernels import spec_of
from gpu_check.subject import require_bf16
from istvt.extras import require
from istvt.kernels.compile import ALIGNMENT_BYTES, compile_ptx
from istvt.kernels.spec import ITEM_BYTES
from tests.gpu.driver import LOCAL_SIZE_BYTES, NUM_REGS, DriverKernel, capability
from tests.kernels.worker import Case, check_outcome, run

DTYPES = {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32"}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("attention", ["temporal", "spatial"])
def test_values(settings, record_property, attention, dtype):
    import torch

    require("triton", extra="gpu")
    require_bf16(settings.device, dtype)
    torch.zeros(1, device="cuda")  # makes the primary context the current one
    spec, num_columns = spec_of(settings.preset, attention, dtype)
    compiled = compile_ptx(spec, compute_capability=capability(torch))
    kernel = DriverKernel(compiled)
    record_property("registers", kernel.attribute(NUM_REGS))
    record_property("registers_expected", compiled.num_registers)
    record_property("spilled_bytes", kernel.attribute(LOCAL_SIZE_BYTES))
    for batch, columns in ((1, num_columns), (8, num_columns), (3, 5)):
        sizes = (batch, spec.num_rows, columns, spec.num_heads, spec.head_dim)
        case = Case(attention, *sizes, DTYPES[dtype])
        for offset in (0, ALIGNMENT_BYTES // ITEM_BYTES[dtype]):
            start = partial(_launch, kernel)
            check_outcome(
                case, run(case, device="cuda", guard_items=(1 << 16) + offset, start=start)
            )
    kernel.close()


def _launch(kernel, attention, qkv, mixed):
    import torch

    kernel.launch(
        batch=qkv.shape[0],
        num_columns=qkv.shape[2],
        qkv=qkv.data_ptr(),
        mixed=mixed.data_ptr(),
        stream=torch.cuda.current_stream().cuda_stream,
    )
