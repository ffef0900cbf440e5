"""What is written: valid JSON, and tables a person can read."""

import json

import pytest

from gpu_check.parts import Part
from gpu_check.report import Report, format_figure, label, to_markdown
from gpu_check.result import Result
from istvt.environment import describe_environment

GPU = {
    "name": "GPU X",
    "versions": "CUDA 13.0",
    "compute_capability": 89.0,
    "memory_gib": 23.6,
    "l2_mib": 72.0,
    "multiprocessors": 128.0,
}
RESULTS = [
    Result("kernels", "temporal values", "pass", figures={"worst_of_allowed": 0.5}),
    Result("kernels", "temporal speed", "measured", figures={"ours_us": 12.345, "x_percent": 81.0}),
    Result("kernels", "spatial values", "fail", "ValueError: a | b\nand more"),
    Result("kernels", "spatial speed", "not run", "no Triton"),
    Result("kernels", "tests", "not run", "no Triton"),
]


def report(*, gpu=GPU, results=RESULTS, rehearsal=False):
    return Report(
        environment=describe_environment(()),
        gpu=gpu,
        preset_name="paper",
        rehearsal=rehearsal,
        budget_s=580.0,
        parts=[Part("kernels", "The kernels", "", 1), Part("none", "Nothing yet", "", 1)],
        results=list(results),
    )


def test_markdown():
    lines = to_markdown(report()).splitlines()
    assert any(
        line.startswith("- GPU: GPU X, compute capability 8.9, 24 GiB, 128 multi") for line in lines
    )
    assert any(line.endswith("1 pass, 1 fail, 1 measured, 2 not run") for line in lines)
    start = lines.index("## The kernels")
    assert lines[start + 2 :] == [
        "| check |  | worst of allowed |",
        "| --- | --- | --- |",
        "| temporal values | pass | 0.5 |",
        "",
        "| check |  | ours, µs | x, % |",
        "| --- | --- | --- | --- |",
        "| temporal speed | measured | 12.3 | 81 |",
        "",
        "| check |  | note |",
        "| --- | --- | --- |",
        "| spatial values | fail | ValueError: a \\| b and more |",
        "",
        "- not run: spatial speed; tests. Reason: no Triton",
    ]


def test_a_failure_shows_where_it_came_from():
    """Who reads the table cannot run it again."""
    failed = Result(
        "kernels",
        "spatial values",
        "fail",
        "KeyError: 'x'",
        trace="\n".join(["Traceback", *map(str, range(100)), "KeyError: 'x'"]),
        log="logs/kernels-spatial-values.txt",
    )
    lines = to_markdown(report(results=[*RESULTS, failed])).splitlines()
    start = lines.index("## Failures")
    assert lines[start + 2] == "### kernels: spatial values (logs/kernels-spatial-values.txt)"
    assert lines[-1] == "```"
    assert lines[-2] == "KeyError: 'x'"
    assert 30 < len(lines) - start < 60  # its end


def test_a_long_note_is_no_cell():
    note = f"encoder: {'a' * 100}\nwindow: {'b' * 100}"
    lines = to_markdown(report(results=[Result("kernels", "fused", "measured", note)])).splitlines()
    assert "| fused | measured |" in lines
    assert lines[-2:] == [f"- fused: encoder: {'a' * 100}", f"- fused: window: {'b' * 100}"]


def test_a_missed_target_says_where_the_time_goes():
    results = [
        Result("latency", "fused, graph batch 1", "pass", figures={"times_eager": 2.0}),
        Result("latency", "compiled batch 1", "pass", figures={"times_eager": 2.0}),
        Result("profile", "fused batch 1", "measured", "encoder: x\nwindow: y", {"a_ms": 1.0}),
    ]
    text = to_markdown(report(results=results))
    targets, _, _ = text.partition("## The kernels")
    (cause,) = [line for line in targets.splitlines() if line.startswith("Where the time goes")]
    assert "times as fast as eager fp16; best fp16 frame" in cause
    assert "- encoder: x\n- window: y\n" in targets


def test_no_gpu_is_the_first_thing_said():
    text = to_markdown(report(gpu={"reason": "PyTorch sees no CUDA device"}, results=[]))
    assert "- GPU: none: PyTorch sees no CUDA device" in text
    assert "| not run |" in text  # the targets


def test_a_rehearsal_aims_at_nothing_and_says_so():
    text = to_markdown(report(rehearsal=True))
    assert "no figure counts" in text
    assert "## Targets" not in text


def test_json(tmp_path):
    endless = Result("kernels", "guards", "fail", figures={"worst_of_allowed": float("inf")})
    report(results=[*RESULTS, endless]).write(tmp_path)

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    values = json.loads((tmp_path / "gpu-check.json").read_text(), parse_constant=refuse)
    assert values["schema_version"] == 1
    assert values["results"][1]["figures"] == {"ours_us": 12.345, "x_percent": 81.0}
    assert values["results"][-1]["figures"] == {"worst_of_allowed": "inf"}
    assert [target["status"] for target in values["targets"]] == ["not run"] * 4
    assert "| inf |" in (tmp_path / "gpu-check.md").read_text()


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


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("gb_per_s", "GB/s"),
        ("ours_gb_per_s", "ours, GB/s"),
        ("windows_per_s", "windows per s"),
        ("peak_mib", "peak, MiB"),
        ("times_eager", "times eager"),
    ],
)
def test_labels(name, text):
    assert label(name) == text
