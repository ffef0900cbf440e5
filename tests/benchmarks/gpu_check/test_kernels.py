"""Checks of the kernels must be able to fail; their arithmetic is that of the shapes."""

from functools import partial

import pytest

from istvt.benchmarks.gpu_check import kernels
from istvt.benchmarks.gpu_check.guarded import Case, formula_of, worst_error
from istvt.benchmarks.gpu_check.result import Settings
from istvt.export.kernels.spec import KernelSpec

SETTINGS = Settings(device="cpu", preset_name="tiny", work="", seconds=0.01)


def case(attention="temporal", dtype="fp16", *, offset=0):
    return Case(KernelSpec(attention, 4, 2, 16, dtype), 2, 9, offset)


@pytest.mark.parametrize("offset", [0, 1, 8])
@pytest.mark.parametrize("dtype", ["fp16", "bf16", "fp32"])
@pytest.mark.parametrize("attention", ["temporal", "spatial"])
def test_the_formula_passes(attention, dtype, offset):
    start = partial(kernels.launch, attention)
    assert 0 < worst_error(case(attention, dtype, offset=offset), start, device="cpu") <= 1


def wrong_value(qkv, mixed):
    mixed.copy_(formula_of("temporal")(qkv.float()))
    mixed.view(-1)[-1] += 0.01


def row_left_out(qkv, mixed):
    mixed[:, :-1] = formula_of("temporal")(qkv.float())[:, :-1]


def one_item_too_many(qkv, mixed):
    mixed.copy_(formula_of("temporal")(qkv.float()))
    mixed.as_strided((1,), (1,), mixed.storage_offset() + mixed.numel())[0] = 0


def one_item_before(qkv, mixed):
    mixed.copy_(formula_of("temporal")(qkv.float()))
    mixed.as_strided((1,), (1,), mixed.storage_offset() - 1)[0] = 0


@pytest.mark.parametrize("launch", [wrong_value, row_left_out, one_item_too_many, one_item_before])
def test_a_broken_kernel_does_not(launch):
    assert worst_error(case(offset=1), launch, device="cpu") > 1


def test_bytes_of_a_window():
    """docs/kernels.md: 7.78 MB in and 2.59 MB out."""
    spec = KernelSpec("temporal", 7, 8, 64, "fp16")
    assert kernels.moved_bytes(spec, 1, 362) == pytest.approx(7.78e6 + 2.59e6, rel=1e-3)
    assert kernels.moved_bytes(spec, 8, 362) == 8 * kernels.moved_bytes(spec, 1, 362)


def test_speed_figures_fit_each_other(monkeypatch):
    durations = {"ours": 2.0, "formula": 6.0, "copy": 1.0}
    monkeypatch.setattr(
        kernels,
        "take_turns",
        lambda works, time_ms, *, seconds: {name: [durations[name]] * 5 for name in works},
    )
    figures = kernels.measure_speed(SETTINGS, attention="temporal", dtype="fp16", batch=8).figures
    assert figures["of_copy_percent"] == 50
    assert figures["times_pytorch"] == 3
    assert figures["copy_gb_per_s"] == pytest.approx(2 * figures["ours_gb_per_s"])
    moved = 1e3 * figures["ours_us"] * figures["ours_gb_per_s"]
    preset = SETTINGS.preset
    spec = KernelSpec("temporal", preset.num_frames + 1, preset.num_heads, preset.head_dim, "fp16")
    assert moved == pytest.approx(kernels.moved_bytes(spec, 8, preset.num_patches + 1))
