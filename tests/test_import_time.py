"""`import istvt` and `istvt --help` answer at once: they load none of the heavy packages."""

import subprocess
import sys

# The heavy packages of the design, and those that bring them along.
HEAVY = {
    "torch",
    "cv2",
    "av",
    "onnxruntime",
    "openvino",
    "tensorrt",
    "tensorrt_rtx",
    "triton",
    "pycuda",
    "onnx",
    "onnxscript",
    "torchvision",
    "facenet_pytorch",
    "skimage",
    "matplotlib",
}

IMPORT = "import istvt"
HELP = (
    "import runpy; sys.argv = ['istvt', '--help']; runpy.run_module('istvt', run_name='__main__')"
)


def loaded_by(code: str) -> set[str]:
    """Top-level packages in a fresh interpreter after running `code`, which may exit with 0."""
    report = f"""
import sys
try:
    {code}
except SystemExit as end:
    assert not end.code, end.code
print("LOADED", *{{name.partition(".")[0] for name in sys.modules}})
"""
    run = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    return set(run.stdout.splitlines()[-1].split()[1:])


def test_import_loads_no_heavy_package() -> None:
    loaded = loaded_by(IMPORT)
    assert "istvt" in loaded
    assert loaded & HEAVY == set()


def test_help_loads_no_heavy_package() -> None:
    loaded = loaded_by(HELP)
    assert "typer" in loaded
    assert loaded & HEAVY == set()


def test_a_heavy_package_would_be_seen() -> None:
    assert "cv2" in loaded_by("import istvt, cv2")
