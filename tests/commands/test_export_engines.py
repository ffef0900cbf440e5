"""`istvt export` and engines, as a user calls it."""

import shutil
import subprocess
import sys

import pytest

pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed (extra rtx)")


def istvt(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "istvt", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.fixture
def bundle(tiny_bundle, tmp_path):
    return shutil.copytree(tiny_bundle.folder, tmp_path / "model.istvt")


def test_a_bundle_is_given_engines(bundle):
    done = istvt("export", "--model", bundle, "--engine", "rtx", "--compute-capability", "86,89")
    assert done.returncode == 0, done.stderr
    assert "window engine: TensorRT-RTX" in done.stdout
    assert "compute capability 86, 89, batch 1 to 16" in done.stdout
    was_run = "→ tensorrt_rtx" in done.stdout
    assert was_run != ("the engines have not been run here: " in done.stdout)
    assert sorted(path.name for path in (bundle / "engines").iterdir()) == [
        "encoder-rtx.engine",
        "encoder-rtx.json",
        "window-rtx.engine",
        "window-rtx.json",
    ]


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (("--engine", "rtx", "--compute-capability", "87"), 4, "builds for 75, 80, 86"),
        (("--engine", "rtx", "--compute-capability", "90"), 4, ", not for 90"),
        (("--engine", "auto", "--compute-capability", "90"), 2, "the named one has 90"),
        (("--engine", "rtx", "--plugin", "on"), 4, "takes no plugins"),
        (("--engine", "tflite"), 2, "is not one of 'auto', 'rtx', 'tensorrt', 'none'"),
        (("--engine", "none"), 2, "there is no engine to build in it"),
        (("--engine", "none", "--compute-capability", "86"), 2, "are for engines"),
        (("--engine", "rtx", "--fp16"), 2, "is a bundle, whose graphs are finished"),
        (("--fp16", "--bf16"), 2, "--fp16 and --bf16 exclude each other"),
    ],
)
def test_what_cannot_be_is_told(bundle, options, code, told):
    done = istvt("export", "--model", bundle, *options)
    assert (done.returncode, told in done.stderr) == (code, True), done.stderr
    assert not (bundle / "engines").exists()
