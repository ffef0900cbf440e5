"""Checks of the kernels must be able to fail; their arithmetic is that of the shapes."""

import math

import pytest

from gpu_check import kernels
from gpu_check.kernels import formula_of
from gpu_check.subject import Settings
from gpu_check.table import Row
from istvt.kernels.spec import KernelSpec
from tests.kernels.worker import Case, check_outcome, run

SETTINGS = Settings(device="cpu", preset_name="tiny", work="", seconds=0.01)
ROW = Row("kernels", "speed", "temporal", "fp16", 8)


def case(attention="temporal", dtype="float16"):
    return Case(attention, 2, 4, 9, 2, 16, dtype)


@pytest.mark.parametrize("offset", [0, 1, 8])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("attention", ["temporal", "spatial"])
def test_the_formula_passes(attention, dtype, offset):
    subject = case(attention, dtype)
    outcome = run(subject, guard_items=(1 << 16) + offset, start=kernels.launch)
    check_outcome(subject, outcome)
    assert (outcome.given != outcome.expected).any()


def wrong_value(attention, qkv, mixed):
    mixed.copy_(formula_of("temporal")(qkv.float()))
    mixed.view(-1)[-1] += 0.01


def row_left_out(attention, qkv, mixed):
    mixed[:, :-1] = formula_of("temporal")(qkv.float())[:, :-1]


def one_item_too_many(attention, qkv, mixed):
    mixed.copy_(formula_of("temporal")(qkv.float()))
    mixed.as_strided((1,), (1,), mixed.storage_offset() + mixed.numel())[0] = 0


def one_item_before(attention, qkv, mixed):
    mixed.copy_(formula_of("temporal")(qkv.float()))
    mixed.as_strided((1,), (1,), mixed.storage_offset() - 1)[0] = 0


@pytest.mark.parametrize("start", [wrong_value, row_left_out, one_item_too_many, one_item_before])
def test_a_broken_kernel_does_not(start):
    with pytest.raises(AssertionError):
        check_outcome(case(), run(case(), guard_items=(1 << 16) + 1, start=start))


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
    monkeypatch.setattr(kernels, "queue_several", lambda work, clock: (work(), (work, 2))[1])
    row = kernels.measure_kernel(SETTINGS, ROW)
    figures = row.figures
    assert (row.value, row.unit) == (pytest.approx(percent), "% of the faster copy")
    assert (row.status, row.contender) == ("pass", "ours")
    assert figures["times_pytorch"] == 3
    assert figures["copy_gb_per_s"] == pytest.approx(2 * figures["ours_gb_per_s"])
    moved = 1e3 * figures["ours_us"] * figures["ours_gb_per_s"]
    assert moved == pytest.approx(one)
    assert figures["large_copy_gb_per_s"] * large_ms == pytest.approx(figures["copy_gb_per_s"])


def test_what_is_timed_is_compared(monkeypatch):
    """A kernel that leaves the last value of the last buffer out is fast, and fails."""

    def launch(attention, qkv, mixed):
        mixed.copy_(formula_of(attention)(qkv.float()))
        mixed.view(-1)[-1] += 0.01

    monkeypatch.setattr(kernels, "launch", launch)
    row = kernels.measure_kernel(SETTINGS, ROW)
    assert row.status == "fail"
    assert "times what is allowed" in row.reason


def test_nothing_written_is_no_small_error(monkeypatch):
    monkeypatch.setattr(kernels, "launch", lambda attention, qkv, mixed: None)
    row = kernels.measure_kernel(SETTINGS, ROW)
    assert (row.status, row.figures["worst_of_allowed"]) == ("fail", math.inf)
