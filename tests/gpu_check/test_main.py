"""The command itself: without a GPU, and with little more installed than numpy."""

import json
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest

from gpu_check import __main__ as command
from gpu_check.plan import JOBS
from gpu_check.table import Row
from istvt.errors import ExitCode

ROOT = Path(__file__).parents[2]
GPU = Row("machine", "GPU", "GPU X", status="measured", value=24.0, unit="GiB")

# Python runs this before all else, also in processes that the command starts.
BLOCKER = """
import sys
from importlib.machinery import PathFinder

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            return None
        return PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Finder()
"""
NOT_ON_A_BARE_MACHINE = (
    *("typer", "av", "cv2", "onnx", "onnxscript", "onnxruntime", "openvino", "safetensors"),
    *("lightning_fabric", "facenet_pytorch", "matplotlib", "tensorrt_rtx", "tensorrt", "pytest"),
)


def run_without(packages, folder, *arguments, code=("-m", "gpu_check")):
    (folder / "sitecustomize.py").write_text(BLOCKER.format(blocked=packages))
    return subprocess.run(
        [sys.executable, *code, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"},
        timeout=120,
        check=False,
    )


def test_numpy_is_enough_to_be_told_what_is_missing(tmp_path):
    blocked = (*NOT_ON_A_BARE_MACHINE, "torch", "triton")
    run = run_without(blocked, tmp_path, "--out", str(tmp_path / "out"))
    assert run.returncode == ExitCode.ENVIRONMENT, run.stderr
    assert "no GPU: torch is needed here" in run.stdout
    *_, rows = json.loads((tmp_path / "out" / "gpu-check.json").read_text()).values()
    rows = [row for row in rows if row["part"] != "targets"]
    assert len(rows) == 1 + len(JOBS)
    assert {row["status"] for row in rows} == {"not run"}
    assert all("torch is needed here" in row["reason"] for row in rows)
    text = (tmp_path / "out" / "gpu-check.md").read_text()
    assert all(f"| {job.row.part} | {job.row.name} |" in text for job in JOBS)


def test_without_a_gpu(tmp_path):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    out = StringIO()
    code = command.main(["kernels", "--out", str(tmp_path)], out=out)
    assert code == ExitCode.ENVIRONMENT
    assert "sees no CUDA device on this machine" in out.getvalue()
    assert (
        "| kernels | speed | temporal | fp16 | 8 | not run |"
        in (tmp_path / "gpu-check.md").read_text()
    )


BARE = """
import json, sys, tempfile
from dataclasses import asdict
from gpu_check import clock, latency, subject, worker
from gpu_check.plan import JOBS
from gpu_check.subject import Settings
from tests.models.istvt.small import SMALL

latency.MATRIX_SIZE["cpu"] = 32
clock.AT_LEAST_ROUNDS = 1
subject.preset_named = lambda name: SMALL
settings = asdict(Settings("cpu", "small", tempfile.mkdtemp(), seconds=0.01))
for job in JOBS:
    name = [job.row.part, job.row.name, job.row.subject, job.row.dtype, job.row.batch]
    if json.dumps(name) in sys.argv[1:]:
        run = worker.run_tests if job.function.endswith(".py") else worker.measure
        work = {**asdict(job), "settings": settings, "done": []}
        run(work, job.row, lambda **answer: print(json.dumps([name, answer])))
"""


def test_pytorch_is_enough_for_all_that_needs_no_more(tmp_path):
    enough = [
        ["kernels", "speed", "temporal", "fp16", 8],
        ["latency", "frame", "fused, graph", "fp16", 1],
    ]
    lacking = [
        ["scorers", "export", "", "fp16", None],
        ["scorers", "frame", "onnxruntime", "fp16", 1],
        ["model", "tests/gpu/test_model.py", "", "", None],
    ]
    asked = map(json.dumps, (*enough, *lacking))
    run = run_without(NOT_ON_A_BARE_MACHINE, tmp_path, *asked, code=("-c", BARE))
    assert run.returncode == 0, run.stderr
    answers = {
        tuple(name): answer["row"] for name, answer in map(json.loads, run.stdout.splitlines())
    }
    assert [answers[tuple(name)]["status"] for name in enough] == ["pass"] * 2, answers
    export, frame, tests = (answers[tuple(name)] for name in lacking)
    assert {row["status"] for row in (export, frame, tests)} == {"not run"}
    assert "onnx is needed" in export["reason"]
    assert "see the row 'export' of fp16" in frame["reason"]
    assert "pytest is needed" in tests["reason"]


def run_with(monkeypatch, tmp_path, *rows):
    out = StringIO()
    jobs = iter([[GPU], rows])
    monkeypatch.setattr(command, "run_jobs", lambda *arguments, **named: iter(next(jobs)))
    return command.main(["--out", str(tmp_path)], out=out), out.getvalue()


def copy(percent):
    unit = "% of the faster copy"
    return Row("kernels", "speed", "temporal", "fp16", 8, "pass", percent, unit, seconds=2.0)


def test_exit_codes(monkeypatch, tmp_path):
    reason = "its process ended: killed by SIGSEGV"
    passes = Row("model", "eager", dtype="fp16", status="pass")
    fails = Row("model", "fused", dtype="fp16", status="fail", reason=reason)
    lacks = Row("scorers", "frame", "tensorrt", "fp16", reason="tensorrt is needed here")
    late = Row("tuned", "x", status="out of time")
    code, text = run_with(monkeypatch, tmp_path, passes, lacks)
    assert code == ExitCode.DONE
    assert "3 rows: 1 pass, 1 measured, 1 not run" in text
    assert run_with(monkeypatch, tmp_path, passes, late)[0] == ExitCode.INCOMPLETE
    assert run_with(monkeypatch, tmp_path, fails, late)[0] == ExitCode.GATE
    assert run_with(monkeypatch, tmp_path, copy(81.0))[0] == ExitCode.DONE
    code, text = run_with(monkeypatch, tmp_path, copy(79.0))
    assert code == ExitCode.GATE
    assert "fail        targets       temporal kernel temporal fp16 batch 8: 79 %" in text
    assert "asked 80" in text


@pytest.mark.parametrize("words", ["out of time", "fail", "no answer", "torch.compile"])
def test_no_status_depends_on_words(monkeypatch, tmp_path, words):
    passes = Row("model", words, words, words, status="pass", reason=words, note=words)
    lacks = Row("model", words, words, words, reason=words, note=words)
    assert run_with(monkeypatch, tmp_path, passes, lacks)[0] == ExitCode.DONE


def test_files_are_written_after_each_row(monkeypatch, tmp_path):
    seen = []

    def rows():
        yield copy(90.0)
        seen.append(json.loads((tmp_path / "gpu-check.json").read_text())["rows"][-1]["value"])
        raise KeyboardInterrupt

    jobs = iter([iter([GPU]), rows()])
    monkeypatch.setattr(command, "run_jobs", lambda *arguments, **named: next(jobs))
    out = StringIO()
    assert command.main(["--out", str(tmp_path)], out=out) == ExitCode.INTERRUPTED
    assert seen == [90.0]
    assert "stopped; what was found is in" in out.getvalue()
    assert "| 90 |" in (tmp_path / "gpu-check.md").read_text()


def test_the_clock_starts_with_the_command(monkeypatch, tmp_path):
    """Ten minutes are ten minutes, whatever a cold import of PyTorch takes of them."""
    now, given = iter([100.0]), {}
    jobs = iter([[GPU], []])
    monkeypatch.setattr(command.time, "monotonic", lambda: next(now))
    monkeypatch.setattr(
        command, "run_jobs", lambda *_, **named: given.update(named) or iter(next(jobs))
    )
    assert command.main(["--out", str(tmp_path)], out=StringIO()) == ExitCode.DONE
    assert (given["end_s"], given["log"]) == (640.0, tmp_path / "gpu-check.log")


@pytest.mark.parametrize(("variable", "folder"), [("", "gpu-check"), ("there", "there")])
def test_files_lie_where_they_are_asked_for(monkeypatch, tmp_path, variable, folder):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OUT", variable)
    jobs = iter([[GPU], []])
    monkeypatch.setattr(command, "run_jobs", lambda *_, **named: iter(next(jobs)))
    assert command.main([], out=StringIO()) == ExitCode.DONE
    names = {path.name for path in (tmp_path / folder).iterdir()}
    assert names == {"gpu-check.md", "gpu-check.json", "gpu-check.log"}


def test_an_unknown_part_is_told(capsys):
    with pytest.raises(SystemExit):
        command.main(["kernel"])
    assert "no part is called kernel: expected rates, kernels, driver" in capsys.readouterr().err
