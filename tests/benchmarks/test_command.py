"""`istvt bench` from its options to its files and exit code."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from istvt.benchmarks import bench as benches
from istvt.benchmarks.bench import random_bundle, run_bench
from istvt.benchmarks.report import BenchReport, Row, from_json
from istvt.commands import measure
from istvt.errors import ExitCode, ModelNotFoundError, UsageError
from istvt.presets import TINY
from tests.benchmarks.fakes import FakeHouse, empty_bundle, frame

COMMAND = """
import sys, typer
from istvt.commands.measure import bench
from istvt.console import run_app
app = typer.Typer()
app.command()(bench)
sys.exit(run_app(app))
"""
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """Run in an empty folder, on fake workers; give the options of every run."""
    runs: list[dict[str, object]] = []

    def fake_bench(bundle: object, **options: object) -> BenchReport:
        runs.append({"bundle": bundle, **options})
        rounds = {
            "naive": [[frame(600)]] * 9,
            "torch": [[frame(300)]] * 9,
            "onnxruntime": [[frame(200)]] * 9,
            "openvino": [[frame(100)]] * 9,
        }
        house = FakeHouse(rounds, fails_at={"torch": "load"})
        return run_bench(bundle, **options, start=house)  # type: ignore[arg-type]

    class Whole:
        def __init__(self, preset: object, **options: object) -> None:
            self.bundle = empty_bundle(tmp_path, preset)  # type: ignore[arg-type]

        def __enter__(self) -> object:
            return self.bundle

        def __exit__(self, *raised: object) -> None:
            return None

    monkeypatch.setattr(benches, "run_bench", fake_bench)
    monkeypatch.setattr(benches, "random_bundle", Whole)
    monkeypatch.delenv("ISTVT_MODEL", raising=False)
    monkeypatch.chdir(tmp_path)
    return runs


def test_without_a_bundle_it_measures_paper_and_says_so(
    asked: list[dict[str, object]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert measure.bench(json=Path("out/bench.json")) == ExitCode.DONE
    shown = capsys.readouterr()
    assert shown.err.startswith("model: preset paper with random weights (there is no bundle")
    assert shown.out.startswith("model:    preset paper with random weights: 300 px")
    report = from_json(json.loads(Path("out/bench.json").read_text()))
    assert report.model.random_weights
    assert report.model.folder == ""


def test_a_named_preset_is_measured(asked: list[dict[str, object]], tmp_path: Path) -> None:
    measure.bench(preset="tiny", png=tmp_path / "bench.png")
    assert asked[0]["bundle"] == empty_bundle(tmp_path, TINY)
    assert (tmp_path / "bench.png").stat().st_size > 5_000


def test_quick_is_short_and_options_win(asked: list[dict[str, object]]) -> None:
    measure.bench(preset="tiny", quick=True)
    measure.bench(preset="tiny", quick=True, rounds=4, seconds=0.5)
    measure.bench(preset="tiny")
    assert [(run["rounds"], run["seconds"]) for run in asked] == [(2, 0.2), (4, 0.5), (5, 1.0)]


def test_a_named_backend_that_fails_is_an_error(asked: list[dict[str, object]]) -> None:
    assert measure.bench(preset="tiny", backend=["openvino"]) == ExitCode.DONE
    assert measure.bench(preset="tiny") == ExitCode.DONE
    assert measure.bench(preset="tiny", backend=["torch"]) == ExitCode.ENVIRONMENT


def test_a_named_model_that_is_not_there_is_an_error(
    asked: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelNotFoundError, match=r"no\.istvt"):
        measure.bench(model=Path("no.istvt"))
    monkeypatch.setenv("ISTVT_MODEL", "nor.istvt")
    with pytest.raises(ModelNotFoundError, match=r"nor\.istvt"):
        measure.bench()
    assert asked == []


def test_model_and_preset_exclude_each_other(asked: list[dict[str, object]]) -> None:
    with pytest.raises(UsageError, match="--preset"):
        measure.bench(model=Path("a.istvt"), preset="tiny")


def test_a_wrong_option_is_found_before_anything_long_begins(
    asked: list[dict[str, object]], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match="tensorflow"):
        measure.bench(preset="paper", backend=["tensorflow"])
    with pytest.raises(UsageError, match="tpu"):
        measure.bench(preset="paper", device="tpu")
    assert capsys.readouterr().err == ""


@pytest.fixture(scope="module")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> object:
    with random_bundle(TINY) as bundle:
        yield bundle


@pytest.mark.slow
def test_measures_every_backend_for_real(tiny_bundle: object, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("openvino")
    output = tmp_path / "bench.json"
    arguments = ("--model", str(tiny_bundle.folder), "--quick", "--threads", "2")  # type: ignore[attr-defined]
    run = subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments, "--json", str(output)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    report = from_json(json.loads(output.read_text()))
    assert [row.name for row in report.rows] == ["naive", "torch", "onnxruntime", "openvino"]
    for row in report.rows:
        assert_is_plausible(row)
    assert "measure (8)" in run.stderr


def assert_is_plausible(row: Row) -> None:
    assert row.reason == ""
    assert row.stages is not None
    assert row.calls >= 4
    for stage in row.stages.values():
        assert 0 < stage.p50_ms <= stage.p90_ms <= stage.p95_ms <= stage.p99_ms
    parts = row.stages["encoder"].mean_ms + row.stages["window"].mean_ms
    assert row.stages["frame"].mean_ms == pytest.approx(parts)
    assert row.windows_per_s == pytest.approx(1e3 / row.stages["frame"].mean_ms)
    assert row.peak_rss_mib is not None
    assert 30 < row.peak_rss_mib < 2_000
    assert len(row.round_speedups) == 2


@pytest.mark.slow
def test_an_interruption_leaves_no_process(tiny_bundle: object) -> None:
    arguments = ("--model", str(tiny_bundle.folder), "--seconds", "600")  # type: ignore[attr-defined]
    run = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments, "--backend", "onnxruntime"],
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert run.stderr is not None
    while "measure" not in run.stderr.readline():
        assert run.poll() is None
    workers = children_of(run.pid)
    assert len(workers) == 2
    run.send_signal(signal.SIGINT)
    assert run.wait(timeout=20) == ExitCode.INTERRUPTED
    run.stderr.close()
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


@pytest.mark.slow
def test_a_killed_benchmark_leaves_no_process(tiny_bundle: object) -> None:
    arguments = ("--model", str(tiny_bundle.folder), "--seconds", "1", "--rounds", "100")  # type: ignore[attr-defined]
    run = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments, "--backend", "onnxruntime"],
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert run.stderr is not None
    while "measure" not in run.stderr.readline():
        assert run.poll() is None
    workers = children_of(run.pid)
    run.kill()
    run.wait()
    run.stderr.close()
    deadline_s = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline_s, "a worker outlived its parent"
        time.sleep(0.1)


def children_of(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]
