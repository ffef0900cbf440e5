"""Kernels compiled ahead of time for GPUs that are not here."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from istvt.errors import RuntimeEnvironmentError, UsageError
from istvt.kernels.compile import ARGUMENTS, TARGETS, compile_ptx
from istvt.kernels.ptx import Loads, count_loads, count_parameters
from istvt.kernels.source import triton_kernel
from istvt.kernels.spec import AttentionName, KernelSpec
from istvt.presets import PAPER, TINY
from istvt.records import FloatPrecision

pytest.importorskip("triton", reason="Triton is not installed")

COLUMNS = PAPER.num_patches + 1
# Two programs of 256 threads (spatial) and six of 64 (temporal) fit an SM's 65536 registers.
MOST_REGISTERS = {"temporal": 168, "spatial": 128}
# Temporal: keys and values of seven rows, the first two queries and the one ahead. Spatial:
# queries in four, then two each of keys and values for the two stages.
LOADS = {"temporal": Loads(vector=17, narrower=0), "spatial": Loads(vector=8, narrower=0)}
MOST_SHARED_BYTES = 48 * 1024  # more has to be asked for at launch, which an engine may not do


def paper_spec(attention: AttentionName, dtype: FloatPrecision = "fp16") -> KernelSpec:
    return KernelSpec(attention, PAPER.num_frames + 1, PAPER.num_heads, PAPER.head_dim, dtype)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
@pytest.mark.parametrize("attention", ["temporal", "spatial"])
def test_the_papers_shape_stays_within_its_bounds(
    attention: AttentionName, dtype: FloatPrecision, target: int
) -> None:
    kernel = compile_ptx(paper_spec(attention, dtype), compute_capability=target)
    assert kernel.spill_bytes == 0
    assert kernel.num_registers <= MOST_REGISTERS[attention]
    assert kernel.loads == LOADS[attention]
    assert kernel.shared_bytes <= (0 if attention == "temporal" else MOST_SHARED_BYTES)
    assert len(kernel.ptx) < 40_000
    assert f".target sm_{target}" in kernel.ptx
    assert f".visible .entry {kernel.name}(" in kernel.ptx
    assert f".reqntid {kernel.num_threads}\n" in kernel.ptx
    assert count_parameters(kernel.ptx) == len(ARGUMENTS)
    assert kernel.arguments == ("qkv", "num_columns", "mixed")


@pytest.mark.parametrize("attention", ["temporal", "spatial"])
def test_products_of_half_precision_run_on_tensor_cores(attention: AttentionName) -> None:
    ptx = compile_ptx(paper_spec(attention, "bf16"), compute_capability=89).ptx
    assert ("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32" in ptx) is (
        attention == "spatial"
    )


@pytest.mark.parametrize("attention", ["temporal", "spatial"])
def test_fp32_is_not_rounded_to_tf32(attention: AttentionName) -> None:
    kernel = compile_ptx(paper_spec(attention, "fp32"), compute_capability=89)
    assert "tf32" not in kernel.ptx
    assert kernel.spill_bytes == 0
    assert kernel.loads.narrower == 0


@pytest.mark.parametrize("attention", ["temporal", "spatial"])
def test_the_smallest_preset_loads_as_wide(attention: AttentionName) -> None:
    spec = KernelSpec(attention, TINY.num_frames + 1, TINY.num_heads, TINY.head_dim, "fp16")
    kernel = compile_ptx(spec, compute_capability=87)
    assert kernel.spill_bytes == 0
    assert kernel.loads.narrower == 0


def test_the_longest_window_does_not_spill() -> None:
    kernel = compile_ptx(KernelSpec("temporal", 17, 8, 64, "fp16"), compute_capability=80)
    assert kernel.spill_bytes == 0


def test_loads_of_an_uneven_head_are_counted_as_narrow() -> None:
    kernel = compile_ptx(KernelSpec("temporal", 3, 1, 33, "fp16"), compute_capability=80)
    assert kernel.loads.vector == 0
    assert kernel.loads.narrower > 0


def test_grid_covers_every_value_once() -> None:
    temporal, spatial = paper_spec("temporal"), paper_spec("spatial")
    blocks, batch, _ = temporal.grid(2, COLUMNS)
    pairs = temporal.constants["PAIRS"]
    assert (blocks - 1) * pairs < COLUMNS * 8 <= blocks * pairs
    assert batch == 2
    blocks, heads, rows = spatial.grid(2, COLUMNS)
    queries = spatial.constants["QUERIES"]
    assert (blocks - 1) * queries < COLUMNS <= blocks * queries
    assert (heads, rows) == (8, 14)


def test_the_same_text_from_another_process_and_an_empty_cache(tmp_path: object) -> None:
    code = (
        "from istvt.kernels.compile import compile_ptx\n"
        "from istvt.kernels.spec import KernelSpec\n"
        "spec = KernelSpec('temporal', 7, 8, 64, 'fp16')\n"
        "print(compile_ptx(spec, compute_capability=86).ptx, end='')"
    )
    again = in_new_process(code, TRITON_CACHE_DIR=str(tmp_path))
    here = compile_ptx(paper_spec("temporal"), compute_capability=86).ptx
    assert again.stdout == here
    assert str(Path(__file__).parents[3]) not in here
    assert ".loc" not in here


def test_an_interpreting_process_cannot_compile() -> None:
    code = (
        "from istvt.errors import RuntimeEnvironmentError\n"
        "from istvt.kernels.compile import compile_ptx\n"
        "from istvt.kernels.spec import KernelSpec\n"
        "try: compile_ptx(KernelSpec('temporal', 7, 8, 64, 'fp16'), compute_capability=86)\n"
        "except RuntimeEnvironmentError as error: print(error)"
    )
    assert "TRITON_INTERPRET is set" in in_new_process(code, TRITON_INTERPRET="1").stdout


def in_new_process(code: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **variables},
    )


def test_an_unknown_target_is_refused() -> None:
    with pytest.raises(UsageError, match="75: expected one of 80, 86, 87, 89, 90, 120"):
        compile_ptx(paper_spec("temporal"), compute_capability=75)


def test_scratch_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from istvt.kernels import compile as module

    metadata = SimpleNamespace(global_scratch_size=128, profile_scratch_size=0)
    given = SimpleNamespace(asm={"ptx": ""}, metadata=metadata)
    monkeypatch.setattr(module, "_compile", lambda *arguments: given)
    with pytest.raises(RuntimeEnvironmentError, match="128 and 0 bytes of scratch"):
        compile_ptx(paper_spec("temporal"), compute_capability=86)


@pytest.mark.parametrize("attention", ["temporal", "spatial"])
def test_pytorch_compiles_the_same_code_at_its_first_call(
    attention: AttentionName, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver that only names a device stands in for CUDA's; nothing is launched."""
    from triton.backends.compiler import GPUTarget
    from triton.runtime import driver

    named = SimpleNamespace(
        get_current_target=lambda: GPUTarget("cuda", 89, 32),
        get_current_device=lambda: 99,  # a real one would find this kernel later
        get_current_stream=lambda device: 0,
    )
    monkeypatch.setattr(driver, "_active", named)
    spec = paper_spec(attention)
    half = torch.float16
    kernel = triton_kernel(attention).warmup(
        half, COLUMNS, half, grid=spec.grid(1, COLUMNS), **spec.constants, **spec.options
    )
    ahead = compile_ptx(spec, compute_capability=89)
    assert count_loads(kernel.asm["ptx"]) == ahead.loads
    assert 32 * kernel.metadata.num_warps == ahead.num_threads
    assert kernel.metadata.shared == ahead.shared_bytes
