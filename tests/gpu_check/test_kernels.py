"""Checks of the kernels must be able to fail; their arithmetic is that of the shapes."""

import math
from functools import partial

import pytest

from gpu_check import kernels
from gpu_check.guarded import Case, formula_of, worst_error
from gpu_check.result import Settings
from istvt.kernels.spec import KernelSpec

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


@pytest.mark.parametrize(("large_ms", "percent"), [(4.0, 50), (0.5, 25)])
def test_speed_figures_fit_each_other(monkeypatch, large_ms, percent):
    """The faster copy counts: that of pieces, or a large one."""
    preset = SETTINGS.preset
    spec = KernelSpec("temporal", preset.num_frames + 1, preset.num_heads, preset.head_dim, "fp16")
    one = kernels.moved_bytes(spec, 8, preset.num_patches + 1)
    count = max(2, math.ceil(kernels.ROTATING_BYTES["cpu"] / one))
    durations = {"ours": 2.0, "formula": 6.0, "copy": 1.0, "large copy": large_ms}
    monkeypatch.setattr(kernels, "large_copy", lambda settings: (lambda: None, count * one))
    monkeypatch.setattr(
        kernels,
        "take_turns",
        lambda works, time_ms, *, seconds: {name: [durations[name]] * 5 for name in works},
    )
    monkeypatch.setattr(kernels, "queue_several", lambda work, clock: (work, 2))
    figures = kernels.measure_speed(SETTINGS, attention="temporal", dtype="fp16", batch=8).figures
    assert figures["of_copy_percent"] == pytest.approx(percent)
    assert figures["times_pytorch"] == 3
    assert figures["copy_gb_per_s"] == pytest.approx(2 * figures["ours_gb_per_s"])
    moved = 1e3 * figures["ours_us"] * figures["ours_gb_per_s"]
    assert moved == pytest.approx(one)
    assert figures["large_copy_gb_per_s"] * large_ms == pytest.approx(figures["copy_gb_per_s"])


def test_values_are_checked_at_the_batches_that_are_timed(monkeypatch):
    seen = []

    def worst_error(case, launch, *, device):
        seen.append((case.num_columns, case.batch))
        return 0.5

    monkeypatch.setattr(kernels, "worst_error", worst_error)
    assert kernels.check_values(SETTINGS, attention="temporal", dtype="fp16").passed
    columns = SETTINGS.preset.num_patches + 1
    assert {batch for num_columns, batch in seen if num_columns == columns} >= set(kernels.BATCHES)
