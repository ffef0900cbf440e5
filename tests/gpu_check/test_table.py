"""What is written, valid JSON and a table a person can read; and what the targets are made of."""

import json

import pytest

from gpu_check.plan import JOBS
from gpu_check.table import Row, Table, format_figure, judge, to_markdown
from istvt.environment import describe_environment

ROWS = [
    Row("kernels", "test_values", "temporal", "fp16", status="pass", figures={"registers": 80}),
    Row(
        *("kernels", "speed", "spatial", "fp16", 8, "measured", 12.345, "µs"),
        figures={"x_percent": 81.0},
    ),
    Row("kernels", "speed", "spatial", status="fail", reason="ValueError: a | b\nand more"),
    Row("kernels", "build", "tensorrt", reason="no Triton"),
]


def table(*rows, rehearsal=False):
    return Table(describe_environment(()), "paper", rehearsal, list(rows))


def test_markdown():
    lines = to_markdown(table(*ROWS)).splitlines()
    assert lines[2].startswith("1 pass, 1 fail, 1 measured, 5 not run; preset paper")
    assert lines[4] == (
        "| part | name | subject | dtype | batch | status | value | unit | target |  |"
    )
    assert lines[5] == "| " + " | ".join(["---"] * 10) + " |"
    assert lines[6].startswith("| targets | temporal kernel |")
    assert lines[10:] == [
        "| kernels | test_values | temporal | fp16 |  | pass |  |  |  | registers 80 |",
        "| kernels | speed | spatial | fp16 | 8 | measured | 12.3 | µs |  | x_percent 81 |",
        "| kernels | speed | spatial |  |  | fail |  |  |  | ValueError: a \\| b and more |",
        "| kernels | build | tensorrt |  |  | not run |  |  |  | no Triton |",
    ]


def test_a_rehearsal_aims_at_nothing_and_says_so():
    text = to_markdown(table(*ROWS, rehearsal=True))
    assert "no figure counts" in text
    assert "targets" not in text
    assert "| targets |" in to_markdown(table(*ROWS))


def test_json(tmp_path):
    endless = Row("kernels", "a", status="fail", value=float("nan"), figures={"x": float("inf")})
    table(*ROWS, endless).write(tmp_path)

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    values = json.loads((tmp_path / "gpu-check.json").read_text(), parse_constant=refuse)
    assert values["schema_version"] == 2
    *targets, _, speed, _, _, last = values["rows"]
    assert (speed["value"], speed["unit"], speed["figures"]) == (12.345, "µs", {"x_percent": 81.0})
    assert (speed["part"], speed["dtype"], speed["batch"]) == ("kernels", "fp16", 8)
    assert (last["value"], last["figures"]) == ("nan", {"x": "inf"})
    assert [row["status"] for row in targets] == ["not run"] * 4
    assert "| x inf |" in (tmp_path / "gpu-check.md").read_text()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (3.14159, "3.14"),
        (12345.6, "12346"),
        (1e-4, "1.0e-04"),
        (8.0, "8"),
        (1e9, "1000000000"),
    ],
)
def test_figures(value, text):
    assert format_figure(value) == text


def frame(subject, value, *, batch=1, percent=10.0, contender="ours", status="pass", dtype="fp16"):
    return Row(
        *("latency", "frame", subject, dtype, batch, status, value, "× eager"),
        contender=contender,
        figures={"of_products_percent": percent},
    )


def compiled(subject, value, **more):
    return frame(subject, value, contender="torch.compile", **more)


def speed(dtype, percent, *, subject="temporal", batch=8, status="pass"):
    unit = "% of the faster copy"
    return Row("kernels", "speed", subject, dtype, batch, status, percent, unit, reason="off")


def test_nothing_run_nothing_claimed():
    assert [target.status for target in judge([])] == ["not run"] * 4
    assert "ours, torch.compile" in judge([])[2].reason


def test_the_slower_of_both_types_counts_against_a_copy():
    rows = [
        speed("fp16", 92.0),
        speed("bf16", 79.9),
        speed("fp16", 40.0, batch=1),
        speed("fp16", 20.0, subject="spatial"),
    ]
    target = judge(rows)[0]
    assert (target.value, target.status, target.target) == (79.9, "fail", 80.0)
    assert judge([rows[0], *rows[2:], speed("bf16", 80.0)])[0].status == "pass"
    without = Row("kernels", "speed", "temporal", "bf16", 8, reason="a GPU without bf16")
    assert judge([rows[0], without])[0].status == "pass"


@pytest.mark.parametrize("wrong", ["fp16", "bf16"])
def test_a_kernel_that_says_something_else_is_not_fast(wrong):
    rows = [
        speed(dtype, 97.0, status="fail" if dtype == wrong else "pass")
        for dtype in ("fp16", "bf16")
    ]
    target = judge(rows)[0]
    assert (target.status, target.value) == ("not run", None)
    assert (target.dtype, target.reason) == (wrong, "fail: off")


def test_a_kernel_that_crashed_in_one_type_is_not_fast():
    crashed = Row("kernels", "speed", "temporal", "fp16", 8, "fail", reason="SIGSEGV")
    assert judge([crashed, speed("bf16", 97.0)])[0].status == "not run"


def test_the_best_of_ours_counts_against_eager_and_compile():
    rows = [
        frame("eager", 9.0, contender="eager"),  # against itself: noise, and no way of ours
        compiled("compiled", 2.0),
        compiled("compiled, tuned", 2.5),
        frame("fused, graph", 3.0),
        frame("fused, graph", 50.0, batch=8),
        frame("tensorrt", 3.5),
    ]
    _, eager, rival, _ = judge(rows)
    assert (eager.value, eager.subject, eager.status) == (3.5, "tensorrt", "pass")
    assert (rival.value, rival.status) == (pytest.approx(1.4), "pass")
    assert (rival.subject, rival.note) == ("tensorrt", "against compiled, tuned")
    assert judge(rows[:4])[2].status == "fail"


def test_what_is_wrong_or_of_another_type_is_not_fast():
    rows = [
        frame("tensorrt", 30.0, percent=99.0, status="fail"),
        frame("tensorrt", 30.0, percent=99.0, status="fail", batch=8),
        frame("tensorrt", 30.0, percent=99.0, dtype="bf16"),
        frame("torch", 30.0, percent=99.0, contender=""),  # gave our kernels up
        frame("torch", 30.0, percent=99.0, contender="", batch=8),
        compiled("compiled", 30.0, status="fail"),
    ]
    assert [target.status for target in judge(rows)] == ["not run"] * 4


def test_what_is_wrong_hides_nothing_that_is_right():
    rows = [frame("tensorrt", 30.0, status="fail"), frame("fused, graph", 3.1)]
    rows += [compiled("compiled", 30.0, status="fail"), compiled("compiled, tuned", 2.0)]
    _, eager, rival, _ = judge(rows)
    assert (eager.value, eager.subject) == (3.1, "fused, graph")
    assert rival.value == pytest.approx(1.55)


def test_products_count_at_batch_8():
    rows = [
        frame("fused, graph", 3.0, percent=90.0),
        frame("fused, graph", 3.0, percent=55.0, batch=8),
        frame("onnxruntime", 1.0, percent=61.0, batch=8),
    ]
    target = judge(rows)[3]
    assert (target.value, target.subject, target.status) == (61.0, "onnxruntime", "pass")
    assert judge(rows[:2])[3].status == "fail"


def test_all_that_targets_are_made_of_is_run():
    """And early: what no target needs comes after it."""
    frames = [(job.row.subject, job.row.batch) for job in JOBS if job.row.part == "latency"]
    late = [(job.row.subject, job.row.batch) for job in JOBS if job.row.part == "tuned"]
    ours = {(way, batch) for way in ("fused, graph", "fused, compiled") for batch in (1, 8)}
    assert ours | {("compiled", 1)} <= set(frames)
    assert ("compiled", 8) not in frames
    assert ("compiled, tuned", 1) in late
    keys = [(job.row.name, job.row.subject, job.row.dtype, job.row.batch) for job in JOBS]
    assert {("speed", "temporal", dtype, 8) for dtype in ("fp16", "bf16")} <= set(keys)
