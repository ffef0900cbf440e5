"""Open a bundle in a named runtime, or in the first of the table that works here."""

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from istvt.bundle.flavour import Flavour
from istvt.bundle.manifest import Bundle
from istvt.errors import BackendError, RuntimeEnvironmentError, UsageError
from istvt.scorer import DeviceName, Scorer, check_device

logger = logging.getLogger(__name__)

AUTO = "auto"


@dataclass(frozen=True)
class Wanted:
    """How to open a backend.

    Attributes:
        threads: CPU threads for the model; None uses all cores.
        eager_kernels: let TensorRT-RTX compile the kernels of a new batch size before running it.
            Otherwise other kernels stand in meanwhile, and times and the last digits change later.
    """

    device: DeviceName = "auto"
    threads: int | None = None
    eager_kernels: bool = False


def _open_torch(bundle: Bundle, wanted: Wanted) -> Scorer:
    from istvt.runtime.backends.torch import TorchScorer

    return TorchScorer(bundle, device=wanted.device, threads=wanted.threads)


def _open_onnxruntime(bundle: Bundle, wanted: Wanted) -> Scorer:
    from istvt.runtime.backends import onnxruntime_gpu as gpu
    from istvt.runtime.backends.onnxruntime import OnnxRuntimeScorer

    if wanted.device == "cuda":
        return gpu.OnnxRuntimeGpuScorer(bundle, gpu.CUDA_PROVIDER)
    if wanted.device == "auto" and gpu.has_provider(gpu.CUDA_PROVIDER):
        try:
            return gpu.OnnxRuntimeGpuScorer(bundle, gpu.CUDA_PROVIDER)
        except RuntimeEnvironmentError as error:  # the package supports GPUs; the machine may not
            _passed_over("onnxruntime", "cuda", error)
    return OnnxRuntimeScorer(bundle, device="cpu", threads=wanted.threads)


def _open_openvino(bundle: Bundle, wanted: Wanted) -> Scorer:
    from istvt.runtime.backends.openvino import OpenVinoScorer

    return OpenVinoScorer(bundle, device=wanted.device, threads=wanted.threads)


def _open_onnxruntime_tensorrt(bundle: Bundle, wanted: Wanted) -> Scorer:
    from istvt.runtime.backends import onnxruntime_gpu as gpu

    return gpu.OnnxRuntimeGpuScorer(bundle, gpu.TENSORRT_PROVIDER)


def _open_tensorrt_rtx(bundle: Bundle, wanted: Wanted) -> Scorer:
    from istvt.runtime.backends.tensorrt import EngineScorer

    return EngineScorer(bundle, "rtx", eager_kernels=wanted.eager_kernels)


def _open_tensorrt(bundle: Bundle, wanted: Wanted) -> Scorer:
    from istvt.runtime.backends.tensorrt import EngineScorer

    return EngineScorer(bundle, "tensorrt", eager_kernels=wanted.eager_kernels)


@dataclass(frozen=True)
class Backend:
    """A row of the table.

    Attributes:
        open: imports the backend's module, and loads a bundle into it.
        devices: the devices it runs on.
        flavour: the TensorRT library whose engines it runs; None if it runs the graphs.
        is_measured: `istvt bench` measures it by default.
    """

    name: str
    open: Callable[[Bundle, Wanted], Scorer]
    devices: tuple[DeviceName, ...] = ("cuda",)
    flavour: Flavour | None = None
    is_measured: bool = False


BACKENDS = (
    Backend("torch", _open_torch, devices=("cpu", "cuda"), is_measured=True),
    Backend("onnxruntime", _open_onnxruntime, devices=("cpu", "cuda"), is_measured=True),
    Backend("openvino", _open_openvino, devices=("cpu",), is_measured=True),
    Backend("onnxruntime-tensorrt", _open_onnxruntime_tensorrt),
    Backend("tensorrt_rtx", _open_tensorrt_rtx, flavour="rtx"),
    Backend("tensorrt", _open_tensorrt, flavour="tensorrt"),
)
BACKEND_NAMES = tuple(backend.name for backend in BACKENDS)

# GPUs come before CPUs. The CPUs' order is measured, the GPUs' chosen (docs/performance.md).
AUTO_ORDER: tuple[tuple[str, DeviceName], ...] = (
    ("tensorrt", "cuda"),
    ("tensorrt_rtx", "cuda"),
    ("onnxruntime", "cuda"),
    ("torch", "cuda"),
    ("openvino", "cpu"),
    ("onnxruntime", "cpu"),
    ("torch", "cpu"),
)


def backend_named(name: str) -> Backend:
    """Return the backend of a name.

    Raises:
        UsageError: there is no backend of that name.
    """
    for backend in BACKENDS:
        if backend.name == name:
            return backend
    known = ", ".join((AUTO, *BACKEND_NAMES))
    raise UsageError(f"no backend is called {name!r}: choose one of {known}")


def open_scorer(
    bundle: Bundle,
    *,
    backend: str = AUTO,
    device: str = "auto",
    threads: int | None = None,
    eager_kernels: bool = False,
) -> Scorer:
    """Load a bundle into a runtime.

    Args:
        bundle: what to run.
        backend: a name, or `auto` for the first of `AUTO_ORDER` that works on this machine.
        device: `cpu`, `cuda`, or `auto` for CUDA where the backend supports it.
        threads: see `Wanted`.
        eager_kernels: see `Wanted`.

    Raises:
        UsageError: the name is unknown.
        RuntimeEnvironmentError: the named backend or device, or with `auto` any, does not run here.
    """
    wanted = Wanted(check_device(device), threads, eager_kernels)
    if backend == AUTO:
        return _open_first_that_works(bundle, wanted)
    return _open(bundle, backend_named(backend), wanted)


def _open(bundle: Bundle, backend: Backend, wanted: Wanted) -> Scorer:
    if wanted.device == "cpu" and backend.devices == ("cuda",):
        raise BackendError(f"{backend.name} runs on NVIDIA GPUs only: use --device cuda")
    return backend.open(bundle, wanted)


def _open_first_that_works(bundle: Bundle, wanted: Wanted) -> Scorer:
    reasons = []
    for name, device in AUTO_ORDER:
        if wanted.device not in ("auto", device):
            continue
        try:
            scorer = _open(bundle, backend_named(name), replace(wanted, device=device))
        except RuntimeEnvironmentError as error:
            reasons.append(_passed_over(name, device, error))
            continue
        try:
            _try_out(scorer)
        except RuntimeEnvironmentError as error:
            scorer.close()
            reasons.append(_passed_over(name, device, error))
            continue
        return scorer
    raise BackendError("no backend runs here:\n" + "\n".join(reasons))


def _passed_over(backend: str, device: str, error: Exception) -> str:
    """Log why a backend was not taken; the owner of a GPU gets a warning."""
    has_gpu = device == "cuda" and shutil.which("nvidia-smi") is not None
    level = logging.WARNING if has_gpu else logging.INFO
    logger.log(level, "%s on %s does not run here: %s", backend, device, error)
    return f"  {backend} on {device}: {error}"


def _try_out(scorer: Scorer) -> None:
    spec = scorer.info.spec
    faces = np.zeros((1, spec.image_size, spec.image_size, 3), dtype=np.uint8)
    features = scorer.encode(faces)
    logits = scorer.score([features * spec.num_frames])
    if not np.isfinite(logits).all():
        raise BackendError(f"it gives {logits} on a black picture, which is not a number")
