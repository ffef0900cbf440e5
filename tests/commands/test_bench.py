"""`istvt bench` from its options to its files and exit code."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from istvt.benchmarks import bench as benches
from istvt.benchmarks.bench import BenchRequest, random_bundle, run_bench
from istvt.benchmarks.report import BenchReport
from istvt.commands import bench as measure
from istvt.commands.output import Output
from istvt.errors import ExitCode, ModelNotFoundError, UsageError
from istvt.presets import TINY
from tests.benchmarks.fakes import FakeHouse, empty_bundle, frame

COMMAND = """
import sys, typer
from istvt.commands.bench import bench
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

    def fake_bench(bundle: object, request: BenchRequest, **options: object) -> BenchReport:
        runs.append({"bundle": bundle, **vars(request), **options})
        rounds = {
            "naive": [[frame(600)]] * 9,
            "torch": [[frame(300)]] * 9,
            "onnxruntime": [[frame(200)]] * 9,
            "openvino": [[frame(100)]] * 9,
        }
        house = FakeHouse(rounds, fails_at={"torch": "load"})
        return run_bench(bundle, request, **options, start=house)  # type: ignore[arg-type]

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
    model = json.loads(Path("out/bench.json").read_text())["model"]
    assert model["random_weights"]
    assert model["folder"] == ""


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


def test_engines_need_a_bundle(asked: list[dict[str, object]]) -> None:
    with pytest.raises(UsageError, match=r"tensorrt runs engines.*pass a bundle as --model"):
        measure.bench(preset="tiny", backend=["torch", "tensorrt"])
    with pytest.raises(ModelNotFoundError, match="no bundle here"):
        measure.bench(backend=["tensorrt_rtx"])
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


@pytest.mark.parametrize(
    ("option", "name", "told"),
    [
        ("png", "x.foo", r"x\.foo is not a known picture format: use .*\.png"),
        ("png", "x", "is not a known picture format"),
        ("png", "file/x.png", r"x\.png cannot be written \((Not a directory|File exists)\)"),
        ("json", "file/x.json", r"x\.json cannot be written"),
        ("json", "folder", r"folder cannot be written \(Is a directory\)"),
    ],
)
def test_an_output_that_cannot_be_written_is_found_before_measuring(
    asked: list[dict[str, object]], tmp_path: Path, option: str, name: str, told: str
) -> None:
    (tmp_path / "file").write_text("keep")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match=told):
        measure.bench(preset="tiny", **{option: Path(name)})  # type: ignore[arg-type]
    assert asked == []
    assert {path.name for path in tmp_path.iterdir()} >= {"file", "folder"}
    assert not (tmp_path / "x.png").exists()


def test_the_check_leaves_an_older_file_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text("old")
    Output(tmp_path / "old.json", tmp_path / "new.png")
    assert [path.name for path in tmp_path.iterdir()] == ["old.json"]
    assert (tmp_path / "old.json").read_text() == "old"


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
    rows = json.loads(output.read_text())["rows"]
    assert [row["name"] for row in rows] == ["naive", "torch", "onnxruntime", "openvino"]
    for row in rows:
        assert_is_plausible(row)
    assert "measure (8)" in run.stderr


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt_rtx", "onnxruntime-tensorrt"])
def test_a_backend_that_is_not_here_is_one_row(tiny_bundle: object, backend: str) -> None:
    arguments = ("--model", str(tiny_bundle.folder), "--quick", "--backend", backend)  # type: ignore[attr-defined]
    run = subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == ExitCode.ENVIRONMENT, run.stderr
    (row,) = (line for line in run.stdout.splitlines() if "not measured: " in line)
    assert row.startswith(f"{backend} ")


def assert_is_plausible(row: dict[str, Any]) -> None:
    assert row["reason"] == ""
    assert row["calls"] >= 4
    stages = row["stages"]
    for stage in stages.values():
        assert 0 < stage["p50_ms"] <= stage["p90_ms"] <= stage["p95_ms"] <= stage["p99_ms"]
    frame_ms = stages["frame"]["mean_ms"]
    assert frame_ms == pytest.approx(stages["encoder"]["mean_ms"] + stages["window"]["mean_ms"])
    assert row["windows_per_s"] == pytest.approx(1e3 / frame_ms)
    assert 30 < row["peak_rss_mib"] < 2_000
    assert len(row["round_speedups"]) == 2


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
