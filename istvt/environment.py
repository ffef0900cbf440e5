"""Describe the machine, so that readers can judge the numbers measured on it."""

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from istvt.compute import count_cores

PACKAGES = (
    *("istvt", "numpy", "torch", "onnx", "onnxruntime", "onnxruntime-gpu", "openvino"),
    *("tensorrt", "tensorrt-rtx"),
)

# Runtimes choose their kernels by these, named as in Linux: x86-64 first, then Arm.
INSTRUCTION_SETS = (
    *("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_bf16", "amx_int8", "amx_fp16"),
    *("asimd", "asimddp", "asimdhp", "bf16", "i8mm", "sve", "sve2", "sme"),
)


@dataclass(frozen=True)
class Environment:
    """The machine on which a benchmark ran.

    Attributes:
        cores: cores that this process may use.
        cores_of_machine: all cores.
        load_average: average over the minute before the benchmark; None if unknown.
        packages: installed packages and their versions.
        gpus: name, driver and memory of each, as `nvidia-smi` reports them.
    """

    cpu: str
    cores: int
    cores_of_machine: int
    instruction_sets: tuple[str, ...]
    memory_gib: float
    system: str
    kernel: str
    python: str
    packages: dict[str, str]
    gpus: tuple[str, ...]
    load_average: float | None


def describe_environment(packages: Sequence[str] = PACKAGES) -> Environment:
    """Describe this machine and the versions of some packages."""
    cpu = _fields_of("/proc/cpuinfo")
    flags = set((cpu.get("flags") or cpu.get("Features") or "").split())
    return Environment(
        cpu=cpu.get("model name") or _board() or platform.machine(),
        cores=count_cores(),
        cores_of_machine=os.cpu_count() or 1,
        instruction_sets=tuple(name for name in INSTRUCTION_SETS if name in flags),
        memory_gib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        system=_system(),
        kernel=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        packages=_versions(packages),
        gpus=_gpus(),
        load_average=os.getloadavg()[0],
    )


def _fields_of(path: str) -> dict[str, str]:
    """Read `name : value` lines; the first value of each name counts."""
    found: dict[str, str] = {}
    if Path(path).is_file():
        for line in Path(path).read_text().splitlines():
            name, _, value = line.partition(":")
            found.setdefault(name.strip(), value.strip())
    return found


def _board() -> str:
    model = Path("/proc/device-tree/model")  # Arm boards name themselves here
    return model.read_text().strip("\0\n ") if model.is_file() else ""


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.platform()


def _versions(packages: Sequence[str]) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _gpus() -> tuple[str, ...]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    command = [tool, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(answer.stdout.strip().splitlines())
