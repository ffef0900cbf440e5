"""Run a bundle's graphs in ONNX Runtime on an NVIDIA GPU, with its CUDA or TensorRT provider.

I/O binding to raw addresses keeps faces, features and logits on the device, on our own stream.
"""

import ctypes
import logging
from contextlib import redirect_stdout, suppress
from importlib import import_module
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from istvt.bundle.manifest import ENGINES_FOLDER, Bundle
from istvt.compute import device_error
from istvt.errors import BackendError, MissingExtraError
from istvt.extras import require
from istvt.runtime.backends.cuda.device import Device
from istvt.runtime.backends.cuda.open import open_device
from istvt.runtime.backends.cuda.scorer import DeviceScorer
from istvt.runtime.backends.onnxruntime import open_session

logger = logging.getLogger(__name__)

CUDA_PROVIDER = "CUDAExecutionProvider"
TENSORRT_PROVIDER = "TensorrtExecutionProvider"
TENSORRT_LIBRARY = "libnvinfer.so.10"  # ONNX Runtime 1.31's provider is linked to it
MAX_ENCODER_BATCH, MAX_WINDOW_BATCH = 64, 16
BACKENDS = {CUDA_PROVIDER: "onnxruntime", TENSORRT_PROVIDER: "onnxruntime-tensorrt"}


class OnnxRuntimeGpuScorer(DeviceScorer):
    """Both graphs as sessions of one provider.

    Raises:
        MissingExtraError: ONNX Runtime, a package for the GPU's memory, or the TensorRT that
            its provider needs, is not installed.
        BackendError: this ONNX Runtime has no such provider, or a graph cannot be loaded.
    """

    def __init__(self, bundle: Bundle, provider: str) -> None:
        runtime = require("onnxruntime", extra="gpu")
        if provider not in runtime.get_available_providers():
            raise BackendError(
                f"this ONNX Runtime has no {provider}: pip uninstall onnxruntime, then "
                "pip install 'istvt[gpu]'; or use --device cpu"
            )
        preload(runtime, provider)
        gpu = open_device()
        try:
            spec = bundle.config.spec
            row = spec.feature_shape
            with gpu.active():
                encoder, window = (
                    open_session(
                        runtime,
                        graph,
                        provider,
                        options={
                            **provider_options(provider, bundle, stream=gpu.stream),
                            **profile_options(provider, name, most, shape),
                        },
                    )
                    for graph, name, most, shape in (
                        (bundle.encoder, "faces", MAX_ENCODER_BATCH, (*2 * [spec.image_size], 3)),
                        (bundle.window, "features", MAX_WINDOW_BATCH, (spec.num_frames, *row)),
                    )
                )
            info = bundle.scorer_info(BACKENDS[provider], device="cuda")
            super().__init__(
                info,
                gpu,
                encoder=SessionRunner(runtime, encoder, gpu, row=row, max_batch=MAX_ENCODER_BATCH),
                window=SessionRunner(runtime, window, gpu, row=(), max_batch=MAX_WINDOW_BATCH),
            )
        except BaseException:
            gpu.close()
            raise


def has_provider(provider: str) -> bool:
    """Return whether the installed ONNX Runtime is built with a provider."""
    return provider in require("onnxruntime", extra="cpu").get_available_providers()


def preload(runtime: ModuleType, provider: str) -> None:
    """Load libraries that pip installs outside the loader's path, which providers need.

    Raises:
        MissingExtraError: the TensorRT version that its provider needs is missing.
    """
    if hasattr(runtime, "preload_dlls"):
        with redirect_stdout(StringIO()) as said:  # it prints, and stdout may carry results
            runtime.preload_dlls()  # only CUDA and cuDNN
        if said.getvalue():
            logger.info("ONNX Runtime: %s", " ".join(said.getvalue().split()))
    if provider == TENSORRT_PROVIDER:
        _load_tensorrt()


def _load_tensorrt() -> Any:
    with suppress(ImportError):
        import_module("tensorrt_libs")  # loads all libraries beside it
    try:
        return ctypes.CDLL(TENSORRT_LIBRARY)
    except OSError as error:
        raise MissingExtraError(
            f"ONNX Runtime's {TENSORRT_PROVIDER} needs TensorRT 10, and not 11: {error}; "
            "pip install 'tensorrt<11', or use --backend tensorrt"
        ) from error


def provider_options(provider: str, bundle: Bundle, *, stream: int) -> dict[str, str]:
    """Return a provider's options: our stream, full fp32, and a cache of TensorRT's engines."""
    common = {"user_compute_stream": str(stream)}
    if provider == CUDA_PROVIDER:
        return {
            **common,
            "use_tf32": "0",  # else CUDA rounds fp32 products to 10 bits
            # The default, EXHAUSTIVE, times all algorithms again for each new number of faces, in
            # the middle of a stream.
            "cudnn_conv_algo_search": "HEURISTIC",
        }
    return {
        **common,
        **_cache_options(bundle.folder / ENGINES_FOLDER / f"onnxruntime-{_tensorrt_version()}"),
        # "1" is refused: onnxruntime_pybind_state.cc accepts only these two words.
        "trt_fp16_enable": "True" if bundle.precision in ("fp16", "int8") else "False",
        **({"trt_bf16_enable": "True"} if bundle.precision == "bf16" else {}),
        **({"trt_int8_enable": "True"} if bundle.precision == "int8" else {}),
    }


def _tensorrt_version() -> int:
    """Return the library's version: 101601 for 10.16.1. Each version opens only its own engines."""
    version: int = _load_tensorrt().getInferLibVersion()
    return version


def _cache_options(folder: Path) -> dict[str, str]:
    """Keep engines beside the graphs, if that folder is writable."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        logger.warning("TensorRT's engines are built again at each start: %s", error)
        return {}
    return {
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(folder),
    }


def profile_options(
    provider: str, name: str, max_batch: int, row: tuple[int, ...]
) -> dict[str, str]:
    """Declare an input's batches to TensorRT, so that it builds once and not for each."""
    if provider != TENSORRT_PROVIDER:
        return {}
    shapes = {"min": 1, "opt": 1, "max": max_batch}
    return {
        f"trt_profile_{kind}_shapes": f"{name}:{'x'.join(map(str, (batch, *row)))}"
        for kind, batch in shapes.items()
    }


class SessionRunner:
    """See `Runner`: a session bound to raw addresses.

    Args:
        runtime: ONNX Runtime.
        session: with one input and one output.
        device: whose memory the addresses are in.
        row: shape of one row of the output.
        max_batch: rows of one call.
        memory: ONNX Runtime's name of that device's memory.
    """

    can_be_captured = False  # kernels of some nodes allocate while they run

    def __init__(
        self,
        runtime: ModuleType,
        session: Any,
        device: Device,
        *,
        row: tuple[int, ...],
        max_batch: int,
        memory: str = "cuda",
    ) -> None:
        self.max_batch = max_batch
        self._session, self._device, self._row, self._memory = session, device, row, memory
        (source,), (target,) = session.get_inputs(), session.get_outputs()
        self._source, self._target = source.name, target.name
        self._source_type = np.uint8 if source.type == "tensor(uint8)" else np.float32
        self._source_row = tuple(source.shape[1:])
        self._options = runtime.RunOptions()
        self._options.add_run_config_entry("disable_synchronize_execution_providers", "1")

    def run(self, batch: int, source: int, target: int) -> None:
        """See `Runner.run`."""
        binding = self._session.io_binding()
        place = (self._memory, 0)
        shape = (batch, *self._source_row)
        binding.bind_input(self._source, *place, self._source_type, shape, source)
        binding.bind_output(self._target, *place, np.float32, (batch, *self._row), target)
        try:
            self._session.run_with_iobinding(binding, self._options)
        except Exception as error:
            raise device_error("running in ONNX Runtime", str(error)) from error

    def close(self) -> None:
        """See `Runner.close`."""
        del self._session
