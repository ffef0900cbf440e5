"""Describe the machine, the checkout and the command, so that a training can be repeated.

The description holds neither the machine's name nor any path but the data's.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import istvt
from istvt.environment import describe_environment as describe_machine

PACKAGES = (
    *("istvt", "torch", "numpy", "lightning-fabric", "tensorboardX", "safetensors"),
    *("opencv-python", "av", "facenet-pytorch", "scikit-image", "timm"),
)
GIT_TIMEOUT_S = 10.0


def describe_environment(data: Path | None = None) -> dict[str, Any]:
    """Describe what trains here, as a JSON-ready dict.

    Args:
        data: the only folder whose path stays in the command line.

    Returns:
        `git` (see `find_revision`), `command`, `cuda` (None without a GPU), and the fields of
        `benchmarks.environment.Environment`.
    """
    return {
        "git": find_revision(),
        "command": command_line(sys.argv, data=data),
        "cuda": _describe_cuda(),
        **asdict(describe_machine(PACKAGES)),
    }


def find_revision(package: Path | None = None) -> dict[str, Any] | None:
    """Name the commit that a package is checked out at.

    Args:
        package: the package's folder; None uses istvt's.

    Returns:
        `revision`, and `is_dirty`: whether a file in the folder differs from it or is new. None if
        git is missing or does not track the folder.
    """
    folder = package or Path(istvt.__file__).parent
    # A package installed into a project's virtual environment does not belong to that project.
    if _git(folder, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    revision = _git(folder, "rev-parse", "HEAD")
    changes = _git(folder, "status", "--porcelain", "--", ".")
    if revision is None or changes is None:
        return None
    return {"revision": revision, "is_dirty": bool(changes)}


def command_line(arguments: Sequence[str], *, data: Path | None) -> str:
    """Reconstruct a command; paths other than `data` are reduced to their last segment."""
    words = [_without_folder(word, data) for word in arguments[1:]]
    return shlex.join([Path(arguments[0]).name, *words])


def _without_folder(word: str, data: Path | None) -> str:
    option, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
    if os.sep not in value or (data is not None and Path(value).resolve() == data.resolve()):
        return word
    return f"{option}{equals}{Path(value).name}"


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    # A git hook that starts us sets these variables to its own repository.
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        answer = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_S,
            check=True,
            env={**variables, "GIT_OPTIONAL_LOCKS": "0"},  # a query must not lock the index
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def _describe_cuda() -> dict[str, Any] | None:
    if not torch.cuda.is_available():
        return None
    return {
        "version": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }
