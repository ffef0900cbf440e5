"""Check the machine itself: system, CPU, memory, GPU, cameras and disk."""

import os
import platform
import shutil
import subprocess
import tempfile
from importlib import metadata
from pathlib import Path

from istvt.checks.record import Check, Status
from istvt.video.camera import list_cameras

GIB = 1 << 30
LEAST_MEMORY_GIB = 2  # for the paper preset's weights, its graphs and one video at a time
LEAST_DISK_GIB = 2  # for one bundle of the paper preset: weights, ONNX files, an engine
CPU_FEATURES = (
    *("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8"),
    *("neon", "asimd", "asimddp", "bf16", "i8mm"),
)
TEGRA_RELEASE = Path("/etc/nv_tegra_release")  # a Jetson before JetPack 6 has no nvidia-smi
DETECTOR_WEIGHTS = ("pnet.pt", "rnet.pt", "onet.pt")


def check_system() -> Check:
    """Report the operating system and the Python version."""
    detail = f"{platform.system()} {platform.release()} {platform.machine()}"
    python = f"Python {platform.python_version()}"
    return Check("system", Status.PASS, f"{detail}, {python}")


def check_cpu(cpuinfo: Path = Path("/proc/cpuinfo")) -> Check:
    """Report the CPU, its cores and the features that backends use."""
    text = cpuinfo.read_text(errors="replace") if cpuinfo.is_file() else ""
    fields = {
        key.strip().lower(): value.strip()
        for key, _, value in (line.partition(":") for line in text.splitlines())
    }
    flags = set((fields.get("flags") or fields.get("features") or "").split())
    features = [feature for feature in CPU_FEATURES if feature in flags]
    model = fields.get("model name") or platform.processor() or platform.machine()
    detail = f"{model}, {os.cpu_count()} cores, {' '.join(features) or 'features unknown'}"
    if "sse" in flags and "avx2" not in flags:
        fix = "this CPU is slow: use a machine with AVX2, or a GPU"
        return Check("cpu", Status.WARN, f"{detail} (no avx2)", fix)
    return Check("cpu", Status.PASS, detail)


def check_memory(meminfo: Path = Path("/proc/meminfo")) -> Check:
    """Report the total and available memory."""
    if not meminfo.is_file():
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
        return Check("memory", Status.PASS, f"{total:.1f} GiB")
    kib = {line.split(":")[0]: int(line.split()[1]) for line in meminfo.read_text().splitlines()}
    total, available = (kib[key] * 1024 / GIB for key in ("MemTotal", "MemAvailable"))
    detail = f"{total:.1f} GiB, {available:.1f} GiB available"
    if available < LEAST_MEMORY_GIB:
        return Check("memory", Status.WARN, detail, "close other programs, or use a small preset")
    return Check("memory", Status.PASS, detail)


def check_gpu() -> Check:
    """Query NVIDIA's driver for its GPUs."""
    if shutil.which("nvidia-smi") is None:
        if TEGRA_RELEASE.is_file():
            release = TEGRA_RELEASE.read_text().splitlines()[0].lstrip("# ")
            return Check("gpu", Status.PASS, f"NVIDIA Jetson, {release}")
        return Check("gpu", Status.ABSENT, "no NVIDIA GPU found (there is no nvidia-smi)")
    fields = "name,driver_version,compute_cap,memory.total"
    output = _output_of("nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader")
    rows = [line.split(", ") for line in (output or "").splitlines()]
    if not rows or any(len(row) != fields.count(",") + 1 for row in rows):
        fix = "nvidia-smi failed: install or update the driver, then restart"
        return Check("gpu", Status.WARN, "the NVIDIA driver does not respond", fix)
    gpus = [
        f"{name}, {memory}, compute capability {capability}, driver {driver}"
        for name, driver, capability, memory in rows
    ]
    return Check("gpu", Status.PASS, "; ".join(gpus))


def check_cuda_toolkit() -> Check:
    """Look for the compiler of the CUDA toolkit."""
    beside = Path("/usr/local/cuda/bin/nvcc")
    nvcc = shutil.which("nvcc") or (str(beside) if beside.exists() else None)
    output = _output_of(nvcc, "--version") if nvcc else None
    if output is None:
        return Check("cuda toolkit", Status.ABSENT, "not found (needed only to install pycuda)")
    release = next((line for line in output.splitlines() if "release" in line), "version unknown")
    return Check("cuda toolkit", Status.PASS, release.strip())


def _output_of(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10.0)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 and done.stdout.strip() else None


def check_detector_weights() -> Check:
    """Look for the face detector's weights in facenet-pytorch's wheel, without importing it."""
    fix = "pip install 'istvt[train]'"
    try:
        files = metadata.files("facenet-pytorch") or []
    except metadata.PackageNotFoundError:
        return Check("face detector", Status.ABSENT, "facenet-pytorch is not installed", fix)
    there = {Path(str(file.locate())).name for file in files if Path(str(file.locate())).is_file()}
    missing = [name for name in DETECTOR_WEIGHTS if name not in there]
    if missing:
        detail = f"weights missing: {', '.join(missing)}"
        return Check("face detector", Status.FAIL, detail, "pip install facenet-pytorch==2.5.3")
    version = metadata.version("facenet-pytorch")
    return Check("face detector", Status.PASS, f"MTCNN weights of facenet-pytorch {version}")


def check_cameras() -> Check:
    """List the cameras."""
    cameras = list_cameras()
    if not cameras:
        return Check("cameras", Status.ABSENT, "no camera found; files and URLs work without one")
    listed = ", ".join(f"{camera.index} ({camera.name})" for camera in cameras)
    shut = [str(camera.path) for camera in cameras if not os.access(camera.path, os.R_OK | os.W_OK)]
    if shut:
        fix = "sudo usermod -aG video $USER, then log in again"
        return Check("cameras", Status.WARN, f"{listed}; no permission: {', '.join(shut)}", fix)
    return Check("cameras", Status.PASS, listed)


def check_disk(folder: Path = Path()) -> Check:
    """Report the free space in the folder."""
    free_gib = shutil.disk_usage(folder).free / GIB
    detail = f"{free_gib:.1f} GiB free in {folder.resolve()}"
    if free_gib < LEAST_DISK_GIB:
        return Check("disk", Status.WARN, detail, f"free {LEAST_DISK_GIB} GiB for runs and bundles")
    return Check("disk", Status.PASS, detail)


def check_writing(folder: Path = Path()) -> Check:
    """Try to write to the folder, which will hold runs and bundles."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            file.write(b"istvt")
    except OSError as error:
        detail = f"cannot write in {folder.resolve()}: {error.strerror}"
        return Check("write access", Status.WARN, detail, "change to a writable folder")
    return Check("write access", Status.PASS, f"{folder.resolve()}")


HARDWARE = (check_system, check_cpu, check_memory, check_gpu, check_cuda_toolkit)
SURROUNDINGS = (check_detector_weights, check_cameras, check_disk, check_writing)
