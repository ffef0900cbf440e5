"""The aims: from which rows, and what is no ground to claim one."""

from dataclasses import replace

import pytest

from gpu_check import ways
from gpu_check.parts import PARTS
from gpu_check.profile import name_of
from gpu_check.result import Result
from gpu_check.targets import judge


def row(part, check, status="measured", *, note="", **figures):
    return Result(part, check, status, note, figures=figures)


def latency(check, times_eager, percent=10.0, *, part="latency", status="pass"):
    return row(part, check, status, times_eager=times_eager, of_products_percent=percent)


def scorer(check, status="pass", *, one=(1.0, 10.0), eight=(1.0, 10.0)):
    return row(
        "scorers",
        check,
        status,
        batch_1_times_eager=one[0],
        batch_1_of_products_percent=one[1],
        batch_8_times_eager=eight[0],
        batch_8_of_products_percent=eight[1],
    )


def copy(check, percent):
    return row("kernels", check, of_copy_percent=percent)


def values(dtype, status="pass"):
    return row("kernels", f"temporal {dtype} values", status, worst_of_allowed=0.5)


def profile(check, note):
    return row("profile", check, note=note, window_kernels_ms=1.0)


def test_nothing_run_nothing_claimed():
    assert [target.status for target in judge([])] == ["not run"] * 4
    assert "ours, torch.compile" in judge([])[2].source


def test_the_slower_of_both_types_counts_against_a_copy():
    rows = [
        copy("temporal fp16 batch 8 speed", 92.0),
        copy("temporal bf16 batch 8 speed", 79.9),
        copy("temporal fp16 batch 1 speed", 40.0),
        copy("spatial fp16 batch 8 speed", 20.0),
        *map(values, ("fp16", "bf16")),
    ]
    target = judge(rows)[0]
    assert (target.found, target.status) == (79.9, "fail")
    assert judge([rows[0], *rows[2:], copy(rows[1].check, 80.0)])[0].status == "pass"
    assert judge([rows[0], values("fp16")])[0].status == "pass"  # a GPU without bf16


@pytest.mark.parametrize("found", [[], [values("fp16")], [values("fp16"), values("bf16", "fail")]])
def test_a_kernel_that_says_something_else_is_not_fast(found):
    speeds = [copy(f"temporal {dtype} batch 8 speed", 97.0) for dtype in ("fp16", "bf16")]
    target = judge([*speeds, *found])[0]
    assert (target.status, target.found) == ("not run", None)
    assert "values' did not pass" in target.source


def test_the_best_of_ours_counts_against_eager_and_compile():
    rows = [
        latency("eager batch 1", 9.0),  # against itself: noise, and no way of ours
        latency("compiled batch 1", 2.0),
        latency("compiled, tuned batch 1", 2.5, part="tuned"),
        latency("fused, graph batch 1", 3.0),
        latency("fused, graph batch 8", 50.0),
        scorer("tensorrt fp16", one=(3.5, 1.0)),
    ]
    _, eager, compiled, _ = judge(rows)
    assert (eager.found, eager.source, eager.status) == (3.5, "tensorrt fp16", "pass")
    assert compiled.found == pytest.approx(1.4)
    assert compiled.source == "tensorrt fp16 over compiled, tuned batch 1"
    assert judge(rows[:4])[2].status == "fail"


def test_a_scorer_that_says_something_else_is_not_fast():
    wrong = scorer("tensorrt fp16", "fail", one=(30.0, 99.0), eight=(30.0, 99.0))
    other = scorer("tensorrt bf16", one=(30.0, 99.0), eight=(30.0, 99.0))
    assert [target.status for target in judge([wrong, other])] == ["not run"] * 4


def test_a_way_that_says_something_else_is_not_fast():
    rows = [
        latency("fused, compiled batch 1", 30.0, status="fail"),
        latency("compiled batch 1", 30.0, status="fail"),
        latency("fused, compiled batch 8", 30.0, 99.0, status="fail"),
    ]
    assert [target.status for target in judge(rows)] == ["not run"] * 4


def test_products_count_at_batch_8():
    rows = [
        latency("fused, graph batch 1", 3.0, percent=90.0),
        latency("fused, graph batch 8", 3.0, percent=55.0),
        scorer("onnxruntime fp16", one=(1.0, 80.0), eight=(1.0, 61.0)),
    ]
    target = judge(rows)[3]
    assert (target.found, target.source, target.status) == (61.0, "onnxruntime fp16", "pass")
    assert judge(rows[:2])[3].status == "fail"


def test_a_scorer_that_gave_our_kernels_up_is_not_ours():
    gave_up = row(
        "scorers",
        "torch fp16",
        "pass",
        note="Triton is not installed: PyTorch runs without the fused attention",
        batch_1_times_eager=9.0,
        batch_8_of_products_percent=99.0,
    )
    assert [target.status for target in judge([gave_up])] == ["not run"] * 4


def test_the_profile_is_that_of_what_falls_short():
    rows = [
        latency("fused, compiled batch 1", 2.9),
        latency("fused, graph batch 1", 2.0),
        latency("fused, graph batch 8", 2.0, percent=40.0),
        profile("fused batch 1", "window: 40 % copies"),
        profile("fused batch 8", "window: 50 % norms"),
        profile("fused, compiled batch 1", "window: 60 % softmax"),
    ]
    assert [target.profile for target in judge(rows)[1:]] == [
        "window: 60 % softmax",
        "window: 60 % softmax",
        "window: 50 % norms",
    ]


def test_a_profile_of_something_else_says_so():
    rows = [
        scorer("tensorrt, plugin on fp16", one=(2.0, 1.0)),
        profile("fused batch 1", "window: 40 % copies"),
    ]
    found = judge(rows)[1].profile
    assert found.startswith("window: 40 % copies")
    assert "of PyTorch's fused way: tensorrt, plugin on fp16 has no profile" in found
    failed = replace(rows[1], figures={}, note="RuntimeError: CUPTI")
    assert judge([rows[0], failed])[1].profile == ""


def test_all_that_targets_are_made_of_is_run():
    """And early: what no target needs comes after it."""
    checks = {part.name: set(part.checks) for part in PARTS}
    assert {f"{way} batch 1" for way in (*ways.COMPILED, *ways.OURS) if way != "fused"} <= (
        checks["latency"] | checks["tuned"]
    )
    assert {"fused, graph batch 8", "fused, compiled batch 8"} <= checks["latency"]
    assert "compiled batch 8" not in checks["latency"]
    assert {name_of(way, batch) for way in ways.OURS for batch in (1, 8)} == checks["profile"]
