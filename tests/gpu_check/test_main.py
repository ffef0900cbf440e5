"""The command itself: without a GPU, and with little more installed than numpy."""

import json
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest

from gpu_check import __main__ as command
from gpu_check.parts import PARTS
from gpu_check.result import Result
from istvt.errors import ExitCode

ROOT = Path(__file__).parents[3]
GPU = {
    "name": "GPU X",
    "versions": "CUDA 13.0",
    "compute_capability": 89.0,
    "memory_gib": 24.0,
    "l2_mib": 72.0,
    "multiprocessors": 128.0,
}

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
    values = json.loads((tmp_path / "out" / "gpu-check.json").read_text())
    assert len(values["results"]) == sum(len(part.checks) for part in PARTS)
    assert {result["status"] for result in values["results"]} == {"not run"}
    assert all("torch is needed here" in result["note"] for result in values["results"])
    text = (tmp_path / "out" / "gpu-check.md").read_text()
    assert all(part.title in text for part in PARTS)


def test_without_a_gpu(tmp_path):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    out = StringIO()
    code = command.main(["kernels", "--out", str(tmp_path)], out=out)
    assert code == ExitCode.ENVIRONMENT
    assert "sees no CUDA device on this machine" in out.getvalue()
    assert "temporal fp16 batch 8 speed" in (tmp_path / "gpu-check.md").read_text()


BARE = """
import json, sys, tempfile
from gpu_check import clock, kernels, latency, model, rates, result
from gpu_check import scorers, training
from gpu_check.check import run_check
from gpu_check.result import Settings
from tests.models.istvt.small import SMALL

rates.MATRIX_SIZE["cpu"] = 32
clock.AT_LEAST_ROUNDS = 1
kernels.SHAPES = ((3, 2, 16, 5),)
result.preset_named = lambda name: SMALL
settings = Settings("cpu", "small", tempfile.mkdtemp(), seconds=0.01)
parts = {"kernels": kernels, "latency": latency, "model": model, "scorers": scorers,
         "training": training}
for name in sys.argv[1:]:
    part, _, check = name.partition(":")
    print(json.dumps([name, run_check(parts[part].CHECKS[check], settings)]))
"""


def test_pytorch_is_enough_for_all_that_needs_no_more(tmp_path):
    enough = [
        "kernels:temporal fp32 values",
        "latency:fused, graph batch 1",
        "model:fused fp32",
    ]
    lacking = ["training:batch 1", "scorers:export fp16", "scorers:onnxruntime fp16"]
    run = run_without(NOT_ON_A_BARE_MACHINE, tmp_path, *enough, *lacking, code=("-c", BARE))
    assert run.returncode == 0, run.stderr
    results = dict(map(json.loads, run.stdout.splitlines()))
    found = [results[name]["status"] for name in enough]
    assert found == ["pass"] * 3, results
    assert [results[name]["status"] for name in lacking] == ["not run"] * 3
    assert "lightning_fabric is needed" in results["training:batch 1"]["note"]
    assert "onnx is needed" in results["scorers:export fp16"]["note"]
    assert "see the check 'export fp16'" in results["scorers:onnxruntime fp16"]["note"]


def run_with(monkeypatch, tmp_path, *results):
    out = StringIO()
    monkeypatch.setattr(command, "ask_machine", lambda settings, *, out: GPU)
    monkeypatch.setattr(command, "run_parts", lambda *arguments, **named: iter(results))
    return command.main(["--out", str(tmp_path)], out=out), out.getvalue()


def copy(percent):
    return Result(
        "kernels",
        "temporal fp16 batch 8 speed",
        "measured",
        figures={"of_copy_percent": percent},
        seconds=2.0,
    )


def test_exit_codes(monkeypatch, tmp_path):
    passes = Result("model", "eager fp16", "pass")
    fails = Result("model", "fused fp16", "fail", "its process ended: killed by SIGSEGV")
    lacks = Result("scorers", "tensorrt fp16", "not run", "tensorrt is needed here")
    late = Result("tuned", "x", "not run", "the time for all checks was over (540 s)")
    slow = Result("builds", "x", "not run", "stopped while TensorRT built its engines, after 300 s")
    code, text = run_with(monkeypatch, tmp_path, passes, lacks)
    assert code == ExitCode.DONE
    assert "2 checks: 1 pass, 1 not run" in text
    assert run_with(monkeypatch, tmp_path, passes, late)[0] == ExitCode.INCOMPLETE
    assert run_with(monkeypatch, tmp_path, passes, slow)[0] == ExitCode.INCOMPLETE
    assert run_with(monkeypatch, tmp_path, fails, late)[0] == ExitCode.GATE
    right = Result("kernels", "temporal fp16 values", "pass")
    assert run_with(monkeypatch, tmp_path, right, copy(81.0))[0] == ExitCode.DONE
    code, text = run_with(monkeypatch, tmp_path, right, copy(79.0))
    assert code == ExitCode.GATE
    assert "fail     target    temporal kernel at batch 8" in text


def test_files_are_written_after_each_check(monkeypatch, tmp_path):
    seen = []

    def results():
        yield copy(90.0)
        seen.append(len(json.loads((tmp_path / "gpu-check.json").read_text())["results"]))
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "ask_machine", lambda settings, *, out: GPU)
    monkeypatch.setattr(command, "run_parts", lambda *arguments, **named: results())
    out = StringIO()
    assert command.main(["--out", str(tmp_path)], out=out) == ExitCode.INTERRUPTED
    assert seen == [1]
    assert "stopped; what was found is in" in out.getvalue()
    assert "| 90 |" in (tmp_path / "gpu-check.md").read_text()


def test_the_clock_starts_with_the_command(monkeypatch, tmp_path):
    """Ten minutes are ten minutes, whatever a cold import of PyTorch takes of them."""
    now, given = iter([100.0]), {}
    monkeypatch.setattr(command.time, "monotonic", lambda: next(now))
    monkeypatch.setattr(command, "ask_machine", lambda settings, *, out: GPU)
    monkeypatch.setattr(command, "run_parts", lambda *_, **named: given.update(named) or iter(()))
    assert command.main(["--out", str(tmp_path)], out=StringIO()) == ExitCode.DONE
    assert (given["since_s"], given["budget_s"], given["out"]) == (100.0, 540.0, tmp_path)


def test_an_unknown_part_is_told(capsys):
    with pytest.raises(SystemExit):
        command.main(["kernel"])
    assert "no part is called kernel: expected rates, kernels, driver" in capsys.readouterr().err
