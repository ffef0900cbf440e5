"""Every example runs as its first lines say."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def run(name, *arguments):
    (script,) = (ROOT / "examples").glob(f"{name}_*.py")
    done = subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def clip(fixtures):
    return fixtures / "data" / "test" / "fake" / "0000.mp4"


@pytest.fixture
def fixtures():
    return ROOT / "tests" / "fixtures" / "aca16a8"


def test_the_examples_are_numbered_and_say_how_they_are_run():
    assert [int(path.name[:2]) for path in EXAMPLES] == list(range(1, len(EXAMPLES) + 1))
    for path in EXAMPLES:
        lines = [line.strip() for line in path.read_text().splitlines()]
        assert any(line.startswith(f"python examples/{path.name} ") for line in lines)


def test_a_file_is_scored(tiny_bundle, clip):
    text = run("01", tiny_bundle.folder, clip)
    assert re.search(r"^(openvino|onnxruntime|torch) on cpu in (fp32|bf16)$", text, re.MULTILINE)
    assert re.search(rf"^{clip}: (fake|real|inconclusive) \(", text, re.MULTILINE)
    assert "  face 0, 0.0 to " in text


def test_a_stream_reaches_a_sink_of_ones_own(tiny_bundle, clip):
    text = run("02", tiny_bundle.folder, clip)
    assert re.search(r"s  face 0: ", text)
    assert "0 results were dropped" in text


def test_a_run_is_exported_with_its_parity(tiny_run, tmp_path):
    text = run("03", tiny_run, tmp_path / "out.istvt")
    assert "torch fp32 -> onnxruntime fp32: |Δlogit| at most " in text
    assert f"wrote {tmp_path / 'out.istvt'} (fp16)" in text


@pytest.mark.slow
def test_a_folder_is_trained_on(fixtures, tmp_path):
    data = shutil.copytree(fixtures / "data", tmp_path / "data")
    text = run("04", data, tmp_path / "run", 4)
    assert "epoch 1: AUC " in text
    assert re.search(r"validation AUC by video: [01]\.\d{3}", text)
