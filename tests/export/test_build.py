import json
import os
import signal
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest

from istvt.bundle.manifest import open_bundle
from istvt.errors import DataError, GateError, ModelNotFoundError, UsageError
from istvt.export import build
from istvt.export.build import export_run
from istvt.models.load import save_run
from istvt.presets import PAPER, TINY
from istvt.runtime.backends.choose import open_scorer
from tests.random_models import config_of, random_model


def test_the_report_speaks_of_the_runs_own_windows(tiny_bundle):
    step = tiny_bundle.parity[0]
    assert step["origin"] == "held-out windows"
    assert step["windows"] == 3
    assert 0 < step["max_abs_logit"] < 1e-4


def test_fp16_is_compared_and_runs(tiny_run, tmp_path):
    exported = export_run(tiny_run, tmp_path / "half.istvt", precision="fp16")
    assert [step.reference for step in exported.parity[:3]] == [
        "torch fp32",
        "onnxruntime fp32",
        "onnxruntime fp16 rounded",
    ]
    assert exported.parity[2].candidate == "onnxruntime fp16"
    assert exported.parity[1].max_abs_logit > exported.parity[0].max_abs_logit
    bundle = open_bundle(tmp_path / "half.istvt")
    fp32_size = (tiny_run.with_name("tiny.istvt") / "window.onnx.data").stat().st_size
    assert bundle.precision == "fp16"
    assert (bundle.folder / "window.onnx.data").stat().st_size < 0.6 * fp32_size


def test_bf16_is_compared_and_runs_where_bf16_has_no_kernels(tiny_run, tmp_path):
    exported = export_run(tiny_run, tmp_path / "brain.istvt", precision="bf16")
    names = [step.candidate for step in exported.parity]
    assert names[:2] == ["onnxruntime fp32", "onnxruntime bf16 rounded"]
    assert "onnxruntime bf16" not in names, "the same session would be compared with itself"
    assert 10 * exported.parity[0].max_abs_logit < exported.parity[1].max_abs_logit < 0.1
    with open_scorer(open_bundle(tmp_path / "brain.istvt"), backend="onnxruntime") as scorer:
        assert scorer.info.precision == "bf16"


def test_a_graph_that_says_something_else_keeps_the_old_bundle(tiny_run, tmp_path, monkeypatch):
    out = tmp_path / "model.istvt"
    before = export_run(tiny_run, out).bundle.digest
    honest = build.export_window

    def export_another(model, path, *, inlined):
        model.norm.bias.data += 0.5
        model.head[1].bias.data += 0.5
        honest(model, path, inlined=inlined)

    monkeypatch.setattr(build, "export_window", export_another)
    monkeypatch.setattr(build, "save_weights", lambda path, model: _weights_of(tiny_run, path))
    with pytest.raises(GateError, match="old bundle was kept"):
        export_run(tiny_run, out)
    assert open_bundle(out).digest == before
    assert [path.name for path in tmp_path.iterdir()] == ["model.istvt"]


def _weights_of(run, path):
    path.write_bytes((run / "weights.safetensors").read_bytes())


def test_only_bundles_are_written_over(tiny_run, tmp_path):
    other = tmp_path / "photos.istvt"
    other.mkdir()
    (other / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(UsageError, match="not a bundle"):
        export_run(tiny_run, other)
    with pytest.raises(UsageError, match=r"must end in \.istvt"):
        export_run(tiny_run, tmp_path / "model")
    with pytest.raises(ModelNotFoundError, match="not a run"):
        export_run(tmp_path, tmp_path / "model.istvt")
    assert (other / "holiday.jpg").read_bytes() == b"x"


@pytest.mark.slow
def test_killing_an_export_leaves_the_old_bundle(tiny_run, tmp_path):
    out = tmp_path / "model.istvt"
    before = export_run(tiny_run, out).bundle
    times = np.random.default_rng().uniform(0.5, 9.0, 4)
    for seconds in times:
        child = subprocess.Popen(
            [sys.executable, "-m", "istvt", "export", "--model", tiny_run, "--out", out],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(seconds)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        found = open_bundle(out)  # whole: every digest fits
        assert found.config == before.config, f"killed after {seconds:.2f} s"


@pytest.mark.slow
def test_the_paper_preset_exports_within_its_tolerance(tmp_path, monkeypatch):
    three = partial(build.random_windows, count=3)  # each takes seconds in every step
    monkeypatch.setattr(build, "random_windows", three)
    run = tmp_path / "paper"
    save_run(run, random_model(PAPER), config_of(PAPER))
    exported = export_run(run, tmp_path / "paper.istvt")
    fp32, openvino = exported.parity
    assert fp32.candidate == "onnxruntime fp32"
    assert fp32.max_abs_logit <= 1e-4
    assert openvino.candidate.startswith("openvino")
    assert openvino.max_abs_logit <= 0.1


def test_the_manifest_is_json_a_person_can_read(tiny_bundle):
    values = json.loads((tiny_bundle.folder / "bundle.json").read_text())
    assert values["labels"] == ["real", "fake"]
    assert values["model"]["sampling"] == {"frame_step": 1, "sample_fps": None}
    assert values["parity"][0]["tolerance"]["max_abs_logit"] == 1e-4


def test_int8_is_calibrated_compared_and_runs_everywhere(tiny_run, tmp_path):
    exported = export_run(tiny_run, tmp_path / "model.istvt", precision="int8")
    bundle = open_bundle(tmp_path / "model.istvt")
    assert bundle.precision == "int8"
    assert bundle.calibration["windows"] == "3 held-out windows of the run"
    assert len(bundle.calibration["sha256"]) == 64
    steps = {step.candidate: step for step in exported.parity}
    assert steps["onnxruntime int8"].reference == "onnxruntime fp32"
    assert steps["onnxruntime int8"].max_abs_logit > 1e-3, "nothing was quantised"
    assert steps["openvino int8"].reference == "onnxruntime int8"
    fp32 = tiny_run.with_name("tiny.istvt") / "window.onnx.data"
    assert bundle.window.with_name("window.onnx.data").stat().st_size < 0.4 * fp32.stat().st_size
    assert not list(bundle.folder.glob("quantized*"))


def test_int8_without_windows_asks_for_clips(tmp_path):
    run = tmp_path / "run"
    save_run(run, random_model(TINY), config_of(TINY))
    with pytest.raises(DataError, match="pass --clips"):
        export_run(run, tmp_path / "model.istvt", precision="int8")
    assert not (tmp_path / "model.istvt").exists()
