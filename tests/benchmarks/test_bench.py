"""The whole path from turns to rows, on workers whose durations are known."""

import sys
from pathlib import Path

import pytest

from istvt.benchmarks.bench import BenchRequest, default_backends, run_bench
from istvt.benchmarks.process import WorkerProcess
from istvt.benchmarks.table import format_report
from istvt.benchmarks.worker import Job
from istvt.errors import UsageError
from istvt.runtime.backends.choose import BACKEND_NAMES
from tests.benchmarks.fakes import FakeHouse, FakeWorker, empty_bundle, frame

# The machine is twice as slow in the second round and ten times in the third.
DRIFT = (1, 2, 10)
ROUNDS = {
    "naive": [[frame(600 * slow), frame(600 * slow)] for slow in DRIFT],
    "torch": [[frame(300 * slow)] for slow in DRIFT],
    "openvino": [[frame(100 * slow), frame(100 * slow)] for slow in DRIFT],
}


def test_rows_and_their_figures(tmp_path: Path) -> None:
    house = FakeHouse(ROUNDS)
    report = run_bench(
        empty_bundle(tmp_path), BenchRequest(backends=["torch", "openvino"], rounds=3), start=house
    )
    assert [row.name for row in report.rows] == ["naive", "torch", "openvino"]
    openvino = report.rows[2]
    assert openvino.stages is not None
    assert openvino.calls == 6
    assert openvino.warm_up_calls == 3
    assert openvino.stages["frame"].p50_ms == pytest.approx(200)
    assert openvino.stages["encoder"].p99_ms == pytest.approx(1)
    assert openvino.stages["window"].p50_ms == pytest.approx(199)
    assert openvino.stages["frame"].mean_ms == pytest.approx(1300 / 3)
    assert openvino.windows_per_s == pytest.approx(6 / 2.6)
    assert openvino.peak_rss_mib == 64.0
    assert [worker.closed for worker in house.workers.values()] == [1, 1, 1]


def test_subjects_take_turns(tmp_path: Path) -> None:
    house = FakeHouse(ROUNDS)
    run_bench(
        empty_bundle(tmp_path), BenchRequest(backends=["torch", "openvino"], rounds=2), start=house
    )
    order = ["naive", "torch", "openvino"]
    steps = ["load", "warm_up", "measure", "measure"]
    assert house.log == [f"{step} {name}" for step in steps for name in order]


def test_ratios_are_taken_within_the_rounds(tmp_path: Path) -> None:
    drifting = {
        "naive": [[frame(600)], [frame(6000)], [frame(60)]],
        "torch": [[frame(300)], [frame(2000)], [frame(15)]],
    }
    report = run_bench(
        empty_bundle(tmp_path),
        BenchRequest(backends=["torch"], rounds=3),
        start=FakeHouse(drifting),
    )
    naive, torch = report.rows
    assert torch.round_speedups == pytest.approx((2.0, 3.0, 4.0))
    assert torch.speedup == pytest.approx(3.0)  # the ratio of the pooled medians is 2
    assert naive.speedup == 1.0


def test_the_options_reach_every_job(tmp_path: Path) -> None:
    house = FakeHouse(ROUNDS)
    run_bench(
        empty_bundle(tmp_path),
        BenchRequest(backends=["torch", "torch"], device="cpu", threads=2, rounds=1),
        start=house,
    )
    bundle = str(tmp_path)
    assert house.jobs == [Job("naive", bundle, "cpu", 2), Job("torch", bundle, "cpu", 2)]


def test_the_measuring_time_is_shared_out_over_the_rounds(tmp_path: Path) -> None:
    house = FakeHouse(ROUNDS)
    run_bench(
        empty_bundle(tmp_path), BenchRequest(backends=["torch"], rounds=3, seconds=1.5), start=house
    )
    assert house.workers["torch"].turns_s == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("step", ["load", "warm_up", "measure"])
def test_a_failing_backend_is_a_row_with_its_reason(tmp_path: Path, step: str) -> None:
    house = FakeHouse(ROUNDS, fails_at={"torch": step})
    report = run_bench(
        empty_bundle(tmp_path), BenchRequest(backends=["torch", "openvino"], rounds=3), start=house
    )
    _, torch, openvino = report.rows
    assert torch.reason == f"broke at {step}"
    assert torch.stages is None
    assert openvino.speedup == pytest.approx(6.0)
    assert house.log.count(f"{step} torch") == 1
    assert house.workers["torch"].closed > 0


@pytest.mark.parametrize("rounds_of_naive", [0, 2])
def test_without_the_naive_row_there_are_figures_and_no_ratios(
    tmp_path: Path, rounds_of_naive: int
) -> None:
    house = FakeHouse({**ROUNDS, "naive": ROUNDS["naive"][:rounds_of_naive]})
    report = run_bench(
        empty_bundle(tmp_path), BenchRequest(backends=["openvino"], rounds=3), start=house
    )
    naive, openvino = report.rows
    assert naive.reason == "broke after its last round"
    assert openvino.stages is not None
    assert openvino.speedup is None
    assert openvino.round_speedups == ()


def test_a_process_that_crashes_is_a_row_with_its_reason(tmp_path: Path) -> None:
    crash = (sys.executable, "-c", "import os; os.abort()")

    def start(job: Job) -> FakeWorker | WorkerProcess:
        if job.subject == "torch":
            return WorkerProcess(job, command=crash)
        return FakeWorker(ROUNDS[job.subject])

    report = run_bench(
        empty_bundle(tmp_path), BenchRequest(backends=["torch", "openvino"], rounds=3), start=start
    )
    assert "SIGABRT" in report.rows[1].reason
    assert report.rows[2].speedup == pytest.approx(6.0)


def test_backends_whose_engines_lie_in_the_bundle_are_measured_too(tmp_path: Path) -> None:
    bundle = empty_bundle(tmp_path)
    always = ("torch", "onnxruntime", "openvino")
    assert default_backends(bundle, device="auto") == always
    (tmp_path / "engines").mkdir()
    for name in ("encoder-rtx", "window-rtx", "encoder-tensorrt"):
        (tmp_path / "engines" / f"{name}.engine").touch()
    assert default_backends(bundle, device="auto") == (*always, "tensorrt_rtx")
    (tmp_path / "engines" / "window-tensorrt.engine").touch()
    both = (*always, "tensorrt_rtx", "tensorrt")
    assert default_backends(bundle, device="cuda") == both
    assert default_backends(bundle, device="cpu") == always, "engines run on GPUs"
    house = FakeHouse({name: [[frame(100)]] for name in ("naive", *both)})
    report = run_bench(bundle, BenchRequest(rounds=1), start=house)
    assert [row.name for row in report.rows] == ["naive", *both]


def test_every_backend_but_auto_can_be_named(tmp_path: Path) -> None:
    names = list(BACKEND_NAMES)
    house = FakeHouse({name: [[frame(100)]] for name in ("naive", *names)})
    report = run_bench(empty_bundle(tmp_path), BenchRequest(backends=names, rounds=1), start=house)
    assert [row.name for row in report.rows] == ["naive", *names]
    lines = format_report(report).splitlines()
    (header,) = (line for line in lines if "runs on" in line)
    rows = [line for line in lines if "cpu fp32" in line]
    assert len(rows) == len(names) + 1
    assert {row.index("cpu fp32") for row in rows} == {header.index("runs on")}


def test_an_interruption_closes_every_worker(tmp_path: Path) -> None:
    house = FakeHouse(ROUNDS)

    def interrupt(stage: str, done: int, total: int) -> None:
        if stage == "measure" and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_bench(
            empty_bundle(tmp_path),
            BenchRequest(backends=["torch"], rounds=3),
            start=house,
            progress=interrupt,
        )
    assert [worker.closed for worker in house.workers.values()] == [1, 1]


def test_progress_reaches_its_end(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    run_bench(
        empty_bundle(tmp_path),
        BenchRequest(backends=["torch"], rounds=2),
        start=FakeHouse(ROUNDS),
        progress=lambda *step: seen.append(step),
    )
    for stage, total in (("load", 2), ("warm up", 2), ("measure", 4)):
        assert [done for name, done, _ in seen if name == stage] == list(range(total + 1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backends": ["auto"]}, "auto"),
        ({"backends": []}, "no backend"),
        ({"backends": ()}, "no backend"),
        ({"device": "tpu"}, "tpu"),
        ({"rounds": 0}, "0 rounds"),
        ({"seconds": 0.0}, "0.0 s"),
    ],
)
def test_refuses_what_cannot_be_measured(
    tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        run_bench(empty_bundle(tmp_path), BenchRequest(**options), start=FakeHouse(ROUNDS))
