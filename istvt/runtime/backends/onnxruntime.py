"""A bundle's graphs in ONNX Runtime, on the CPU or a CUDA device."""

from pathlib import Path
from typing import Any

import numpy as np

from istvt.errors import BackendError
from istvt.export.bundle import Bundle
from istvt.extras import require
from istvt.runtime.backends.arrays import ArrayScorer, GraphName
from istvt.runtime.scorer import DeviceName, ScorerInfo

CUDA_PROVIDER = "CUDAExecutionProvider"
CPU_PROVIDER = "CPUExecutionProvider"
FULL_FP32 = {"use_tf32": "0"}  # else CUDA rounds fp32 products to 10 bits


class OnnxRuntimeScorer(ArrayScorer):
    """Both graphs as ONNX Runtime sessions.

    Raises:
        MissingExtraError: ONNX Runtime is not installed.
        BackendError: the device is not there, or a graph cannot be loaded.
    """

    def __init__(self, bundle: Bundle, *, device: DeviceName, threads: int | None = None) -> None:
        self._runtime = require("onnxruntime", extra="cpu")
        self._provider = self._choose_provider(device)
        self._threads = threads
        self._sessions = {
            "encoder": self._open_session(bundle.encoder),
            "window": self._open_session(bundle.window),
        }
        self.info = ScorerInfo(
            backend="onnxruntime",
            device="cuda" if self._provider == CUDA_PROVIDER else "cpu",
            precision=bundle.precision,
            bundle_digest=bundle.digest,
            preset=bundle.config.preset,
        )

    def run(self, graph: GraphName, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """See `ArrayScorer.run`."""
        session = self._sessions[graph]
        try:
            result: np.ndarray[Any, Any] = session.run(
                None, {session.get_inputs()[0].name: values}
            )[0]
        except Exception as error:
            raise BackendError(f"ONNX Runtime failed while running: {error}") from error
        return result

    def close(self) -> None:
        """See `Scorer.close`."""
        self._sessions.clear()

    def _choose_provider(self, device: DeviceName) -> str:
        has_cuda = CUDA_PROVIDER in self._runtime.get_available_providers()
        if device == "cuda" and not has_cuda:
            raise BackendError(
                "this ONNX Runtime has no CUDA provider: pip uninstall onnxruntime, then "
                "pip install 'istvt[gpu]'; or use --device cpu"
            )
        return CUDA_PROVIDER if has_cuda and device != "cpu" else CPU_PROVIDER

    def _open_session(self, graph: Path) -> Any:
        options = self._runtime.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry("session.qdqisint8allowed", "1")
        if self._threads is not None:
            options.intra_op_num_threads = self._threads
        is_cuda = self._provider == CUDA_PROVIDER
        if is_cuda and hasattr(self._runtime, "preload_dlls"):
            self._runtime.preload_dlls()  # CUDA and cuDNN as pip installs them
        provider = (self._provider, FULL_FP32) if is_cuda else self._provider
        try:
            session = self._runtime.InferenceSession(str(graph), options, providers=[provider])
        except Exception as error:
            raise BackendError(f"ONNX Runtime cannot load {graph}: {error}") from error
        if session.get_providers()[0] != self._provider:
            raise BackendError(
                f"ONNX Runtime loaded {graph.name} without {self._provider}: its CUDA or cuDNN "
                "libraries are missing or too old (see `istvt checks`); or use --device cpu"
            )
        return session
