"""The name of a backend in, its scorer out; `auto` tries them fastest first."""

import logging
import shutil
from dataclasses import dataclass

import numpy as np

from istvt.bundle.flavour import Flavour
from istvt.bundle.manifest import Bundle
from istvt.errors import BackendError, RuntimeEnvironmentError
from istvt.scorer import (
    BackendName,
    DeviceName,
    Scorer,
    check_backend,
    check_device,
)

logger = logging.getLogger(__name__)

# A GPU before any CPU, whose order is measured; the GPU's is a choice (docs/performance.md).
AUTO_ORDER: tuple[tuple[BackendName, DeviceName], ...] = (
    ("tensorrt", "cuda"),
    ("tensorrt_rtx", "cuda"),
    ("onnxruntime", "cuda"),
    ("torch", "cuda"),
    ("openvino", "cpu"),
    ("onnxruntime", "cpu"),
    ("torch", "cpu"),
)


def open_scorer(
    bundle: Bundle,
    *,
    backend: str = "auto",
    device: str = "auto",
    threads: int | None = None,
    eager_kernels: bool = False,
) -> Scorer:
    """Load a bundle into a runtime.

    Args:
        bundle: what to run.
        backend: a name, or `auto` for the first of `AUTO_ORDER` that works on this machine.
        device: `cpu`, `cuda`, or `auto` for CUDA where the backend has it.
        threads: CPU threads for the model; all cores where None.
        eager_kernels: have TensorRT-RTX compile the kernels of a new batch size before it runs it.
            Otherwise others stand in meanwhile, and times and the last digits change after.

    Raises:
        UsageError: an unknown name.
        RuntimeEnvironmentError: the named backend or device does not run here; with `auto`, none.
    """
    options = _Options(threads, eager_kernels)
    return _open(bundle, check_backend(backend), check_device(device), options)


@dataclass(frozen=True)
class _Options:
    threads: int | None
    eager_kernels: bool


def _open(bundle: Bundle, backend: BackendName, device: DeviceName, options: _Options) -> Scorer:
    threads = options.threads
    match backend:
        case "torch":
            from istvt.runtime.backends.torch import TorchScorer

            return TorchScorer(bundle, device=device, threads=threads)
        case "onnxruntime":
            return _open_onnxruntime(bundle, device=device, threads=threads)
        case "onnxruntime-tensorrt":
            from istvt.runtime.backends import onnxruntime_gpu as gpu

            _refuse_cpu(backend, device)
            return gpu.OnnxRuntimeGpuScorer(bundle, gpu.TENSORRT_PROVIDER)
        case "tensorrt_rtx" | "tensorrt":
            from istvt.runtime.backends.tensorrt import EngineScorer

            _refuse_cpu(backend, device)
            flavour: Flavour = "rtx" if backend == "tensorrt_rtx" else "tensorrt"
            return EngineScorer(bundle, flavour, eager_kernels=options.eager_kernels)
        case "openvino":
            from istvt.runtime.backends.openvino import OpenVinoScorer

            return OpenVinoScorer(bundle, device=device, threads=threads)
        case "auto":
            return _open_first_that_works(bundle, device, options)


def _open_onnxruntime(bundle: Bundle, *, device: DeviceName, threads: int | None) -> Scorer:
    from istvt.runtime.backends import onnxruntime_gpu as gpu
    from istvt.runtime.backends.onnxruntime import OnnxRuntimeScorer

    if device == "cuda":
        return gpu.OnnxRuntimeGpuScorer(bundle, gpu.CUDA_PROVIDER)
    if device == "auto" and gpu.has_provider(gpu.CUDA_PROVIDER):
        try:
            return gpu.OnnxRuntimeGpuScorer(bundle, gpu.CUDA_PROVIDER)
        except RuntimeEnvironmentError as error:  # the package is for GPUs; the machine may not be
            _passed_over("onnxruntime", "cuda", error)
    return OnnxRuntimeScorer(bundle, device="cpu", threads=threads)


def _refuse_cpu(backend: str, device: DeviceName) -> None:
    if device == "cpu":
        raise BackendError(f"{backend} runs on NVIDIA GPUs only: use --device cuda")


def _open_first_that_works(bundle: Bundle, device: DeviceName, options: _Options) -> Scorer:
    reasons = []
    for backend, its_device in AUTO_ORDER:
        if device not in ("auto", its_device):
            continue
        try:
            scorer = _open(bundle, backend, its_device, options)
        except RuntimeEnvironmentError as error:
            reasons.append(_passed_over(backend, its_device, error))
            continue
        try:
            _try_out(scorer)
        except RuntimeEnvironmentError as error:
            scorer.close()
            reasons.append(_passed_over(backend, its_device, error))
            continue
        return scorer
    raise BackendError("no backend runs here:\n" + "\n".join(reasons))


def _passed_over(backend: str, device: str, error: Exception) -> str:
    """Note why one was not taken; the owner of a GPU is told aloud."""
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
