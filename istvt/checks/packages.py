"""Probe each package in its own process."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from istvt.checks.record import Check, Status
from istvt.runtime.backends.choose import BACKENDS

PROBE_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Package:
    """A package to probe in its own process."""

    module: str
    install: str
    label: str = ""
    required: bool = False

    @property
    def devices(self) -> tuple[str, ...]:
        """Devices on which the package runs models as a backend."""
        return next((row.devices for row in BACKENDS if row.name == self.module), ())


PACKAGES = (
    Package("av", "pip install av", label="video files", required=True),
    Package("cv2", "pip install opencv-python", label="pictures, cameras", required=True),
    Package("torch", "pip install 'istvt[cpu]'"),
    Package("onnxruntime", "pip install 'istvt[cpu]'"),
    Package("openvino", "pip install 'istvt[openvino]'"),
    Package("tensorrt_rtx", "pip install 'istvt[rtx]' (needs an RTX card)"),
    Package("tensorrt", "pip install 'istvt[tensorrt]' (needs an NVIDIA GPU)"),
    Package("pycuda", "pip install pycuda (needs the CUDA toolkit), or cuda-python beside it"),
    Package("cuda", "pip install 'istvt[rtx]' (needs the NVIDIA driver)", label="cuda-python"),
    Package("triton", "install a torch built for CUDA (see pytorch.org): it comes with it"),
)


def check_package(
    package: Package, *, command: Sequence[str] = (), timeout_s: float = PROBE_TIMEOUT_S
) -> list[Check]:
    """Probe a package in its own process.

    Args:
        package: the package to probe.
        command: replaces `python -m istvt.checks.probes MODULE` (for tests).
        timeout_s: after this time the probe counts as hanging.
    """
    name = package.label or package.module
    if not command and importlib.util.find_spec(package.module) is None:
        status = Status.FAIL if package.required else Status.ABSENT
        return [Check(name, status, "not installed", package.install)]
    try:
        done = subprocess.run(
            command or (sys.executable, "-m", "istvt.checks.probes", package.module),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
            env=_probe_environment(),
        )
    except subprocess.TimeoutExpired:
        return [Check(name, Status.FAIL, f"no answer within {timeout_s:g} s", _reinstall(package))]
    if done.returncode or not done.stdout.strip():
        return [Check(name, Status.FAIL, _last_words(done), _reinstall(package))]
    return [
        Check(
            f"{name} {finding['part']}".rstrip(),
            Status(finding["status"]),
            finding["detail"],
            finding["fix"],
            runs_models=finding["part"].partition(":")[0] in package.devices,
        )
        for finding in json.loads(done.stdout.strip().splitlines()[-1])
    ]


def _probe_environment() -> dict[str, str]:
    """Return an environment in which probes import this very `istvt`."""
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _reinstall(package: Package) -> str:
    return package.install.replace("pip install", "pip install --force-reinstall", 1)


def _last_words(done: "subprocess.CompletedProcess[str]") -> str:
    lines = done.stderr.strip().splitlines()
    last = lines[-1][:200] if lines else "no message"
    if done.returncode < 0:
        return f"crashed ({signal.Signals(-done.returncode).name}): {last}"
    return last
