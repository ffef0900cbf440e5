"""The command line as a user meets it: exit codes, messages, output."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from istvt.cli import app
from istvt.console import run_app
from istvt.video.writer import VideoWriter


@pytest.fixture
def cli(monkeypatch, capsys):
    """Runs `istvt ARGS`; gives exit code, standard output and standard error."""

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["istvt", *map(str, args)])
        code = run_app(app)
        captured = capsys.readouterr()
        return int(code), captured.out, captured.err

    return run


@pytest.fixture
def clip(tmp_path):
    """Two seconds without a face."""
    path = tmp_path / "noise.mp4"
    with VideoWriter(path, fps=25, size_wh=(96, 64)) as writer:
        for index in range(50):
            writer.write(np.full((64, 96, 3), index, dtype=np.uint8))
    return path


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """An empty working folder."""
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("ISTVT_MODEL", raising=False)
    return folder


@pytest.mark.parametrize("command", ["export", "evaluate --data ."])
def test_without_a_run_the_error_names_what_makes_one(cli, empty, command):
    code, _, err = cli(*command.split())
    assert code == 2
    assert "istvt train" in err
    assert "istvt demo" in err


@pytest.mark.parametrize("command", ["stream --camera 0", "score ."])
def test_without_a_bundle_the_error_names_what_makes_one(cli, empty, command):
    code, _, err = cli(*command.split())
    assert code == 2
    assert "istvt export" in err


def test_what_is_no_bundle_is_told(cli, tmp_path):
    code, _, err = cli("stream", "--camera", 0, "--model", tmp_path)
    assert code == 2
    assert f"{tmp_path} (--model) is not a bundle" in err


def test_a_missing_file_is_a_source_error(cli, tiny_bundle):
    for command in (["score"], ["stream", "--source"]):
        code, _, err = cli(*command, "lost.mp4", "--model", tiny_bundle.folder)
        assert code == 5
        assert "lost.mp4" in err


def test_a_missing_camera_lists_what_was_found(cli, tiny_bundle):
    if os.path.exists("/dev/video93"):  # noqa: PTH110
        pytest.skip("this machine has 94 cameras")
    code, _, err = cli("stream", "--camera", 93, "--model", tiny_bundle.folder)
    assert code == 5
    assert "camera 93" in err
    assert "found" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--backend", "tflite"], "choose one of auto, torch, onnxruntime, openvino"),
        (["--device", "tpu"], "is not one of 'auto', 'cpu', 'cuda'"),
        (["--threshold", "1.5"], "threshold is 1.5"),
        (["--threads", "0"], "Invalid value"),
        ([], "use either --camera N or --source X"),
    ],
)
def test_wrong_options_are_usage_errors(cli, tiny_bundle, clip, options, message):
    source = ["--source", clip] if options else []
    code, _, err = cli("stream", *source, "--model", tiny_bundle.folder, *options)
    assert code == 2
    assert message in err


def test_a_wrong_preset_lists_the_known(cli, empty):
    code, _, err = cli("train", ".", "--preset", "huge")
    assert code == 2
    assert "'huge'" in err
    assert "paper, edge, tiny" in err


def test_show_needs_a_display(cli, tiny_bundle, clip, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    code, _, err = cli("stream", "--source", clip, "--show", "--model", tiny_bundle.folder)
    assert code == 4
    assert "--save" in err


def test_no_face_is_no_face_and_not_done(cli, tiny_bundle, clip):
    code, out, err = cli("stream", "--source", clip, "--model", tiny_bundle.folder)
    assert code == 6
    assert "no-face" in out
    assert "50 of 50 frames read" in out
    assert f"model: {tiny_bundle.folder} (--model)" in err
    assert "backend: " in err


def test_json_lines_keep_standard_output_clean(cli, tiny_bundle, clip):
    _, out, err = cli("stream", "--source", clip, "--json", "-", "--model", tiny_bundle.folder)
    lines = [json.loads(line) for line in out.splitlines()]
    assert lines[-1]["type"] == "summary"
    assert lines[-1]["verdict"] == "no-face"
    assert "no-face" in err


def test_score_writes_tables_json_and_csv(cli, tiny_bundle, clip, tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4"):
        (folder / name).write_bytes(clip.read_bytes())
    code, out, _ = cli("score", folder, "--model", tiny_bundle.folder)
    assert code == 6
    assert out.count("no-face") == 2
    _, out, err = cli("score", folder, "--csv", "-", "--model", tiny_bundle.folder)
    assert [row["verdict"] for row in csv.DictReader(io.StringIO(out))] == ["no-face"] * 2
    assert "no-face" in err
    output = tmp_path / "out" / "scores.json"
    cli("score", folder, "--json", output, "--model", tiny_bundle.folder)
    assert [entry["verdict"] for entry in json.loads(output.read_text())] == ["no-face"] * 2


def test_a_truncated_file_is_partial(cli, tiny_bundle, tmp_path):
    path = tmp_path / "long.mkv"
    with VideoWriter(path, fps=25, size_wh=(96, 64)) as writer:
        rng = np.random.default_rng(0)
        for _ in range(100):
            writer.write(rng.integers(0, 256, (64, 96, 3), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    code, out, _ = cli("score", path, "--model", tiny_bundle.folder)
    assert code == 6
    assert "partial" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--fp16", "--int8"], "exclude each other"), (["--clips", "."], "use both or neither")],
)
def test_export_refuses_options_that_do_not_go_together(cli, tiny_run, options, message):
    code, _, err = cli("export", "--model", tiny_run, *options)
    assert code == 2
    assert message in err


def test_export_says_what_comes_next(cli, tiny_run, tmp_path):
    out = tmp_path / "next.istvt"
    code, text, _ = cli("export", "--model", tiny_run, "--out", out)
    assert code == 0
    assert "pass" in text
    for command in ("score", "stream --camera 0", "bench"):
        assert f"istvt {command}" in text
    assert text.count(str(out)) == 4


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_device_needs_no_torch_to_stream(tiny_bundle, clip, backend):
    if backend == "openvino":
        pytest.importorskip("openvino")
    without_torch = (
        "import sys\n"
        "for name in ('torch', 'onnx', 'onnxscript', 'safetensors', 'matplotlib'):\n"
        "    sys.modules[name] = None\n"
        "from istvt.cli import main\n"
        "main()"
    )
    options = ["--source", clip, "--backend", backend, "--model", tiny_bundle.folder]
    done = subprocess.run(
        [sys.executable, "-c", without_torch, "stream", *options], capture_output=True, text=True
    )
    assert done.returncode == 6, done.stderr
    assert "no-face" in done.stdout


def test_ctrl_c_ends_with_verdicts_and_a_playable_file(tiny_bundle, tmp_path):
    clip, saved = tmp_path / "long.mp4", tmp_path / "saved.mp4"
    with VideoWriter(clip, fps=25, size_wh=(640, 360)) as writer:
        image = np.random.default_rng(0).integers(0, 256, (360, 640, 3), dtype=np.uint8)
        for _ in range(1500):
            writer.write(image)
    files = ["--source", clip, "--save", saved, "--json", tmp_path / "lines.jsonl"]
    child = subprocess.Popen(
        [sys.executable, "-m", "istvt", "stream", *files, "--model", tiny_bundle.folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    part = saved.with_name("saved.part.mp4")
    while not part.exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130, err
    assert "no-face" in out
    assert "stage" in out
    lines = [json.loads(line) for line in (tmp_path / "lines.jsonl").read_text().splitlines()]
    assert lines[-1]["interrupted"] is True
    from istvt.video.source import open_source

    with open_source(saved) as source:
        assert 0 < sum(1 for _ in source) < 1500
