"""The aims: from which rows, and what is no ground to claim one."""

import pytest

from istvt.benchmarks.gpu_check.result import Result
from istvt.benchmarks.gpu_check.targets import judge


def row(part, check, status="measured", **figures):
    return Result(part, check, status, figures=figures)


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


def test_nothing_run_nothing_claimed():
    assert [target.status for target in judge([])] == ["not run"] * 4
    assert "ours, torch.compile" in judge([])[2].source


def test_the_slower_of_both_types_counts_against_a_copy():
    rows = [
        copy("temporal fp16 batch 8 speed", 92.0),
        copy("temporal bf16 batch 8 speed", 79.9),
        copy("temporal fp16 batch 1 speed", 40.0),
        copy("spatial fp16 batch 8 speed", 20.0),
    ]
    target = judge(rows)[0]
    assert (target.found, target.status) == (79.9, "fail")
    assert judge([*rows[:1], copy(rows[1].check, 80.0)])[0].status == "pass"


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
