"""A bundle's graphs in ONNX Runtime, on the CPU or a CUDA device."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from istvt.errors import BackendError
from istvt.export.bundle import Bundle
from istvt.extras import require
from istvt.records import FloatArray, UInt8Array
from istvt.runtime.scorer import (
    ClosesOnExit,
    DeviceName,
    Features,
    ScorerInfo,
    check_faces,
    check_windows,
    no_logits,
)

CUDA_PROVIDER = "CUDAExecutionProvider"
CPU_PROVIDER = "CPUExecutionProvider"


class OnnxRuntimeScorer(ClosesOnExit):
    """Both graphs as ONNX Runtime sessions.

    Raises:
        MissingExtraError: ONNX Runtime is not installed.
        BackendError: the device is not there, or a graph cannot be loaded.
    """

    def __init__(self, bundle: Bundle, *, device: DeviceName, threads: int | None = None) -> None:
        self._runtime = require("onnxruntime", extra="cpu")
        self._provider = self._choose_provider(device)
        self._threads = threads
        self._encoder = self._open_session(bundle.encoder)
        self._window = self._open_session(bundle.window)
        self._float = (
            np.float16 if self._window.get_inputs()[0].type.endswith("16)") else np.float32
        )
        self.info = ScorerInfo(
            backend="onnxruntime",
            device="cuda" if self._provider == CUDA_PROVIDER else "cpu",
            precision=bundle.precision,
            bundle_digest=bundle.digest,
            preset=bundle.config.preset,
        )

    def encode(self, faces: UInt8Array) -> list[Features]:
        """See `Scorer.encode`; a handle is an array `(h*w, C)`."""
        check_faces(faces, self.info.preset)
        if len(faces) == 0:
            return []
        return list(self._run(self._encoder, np.ascontiguousarray(faces)))

    def score(self, windows: Sequence[Sequence[Features]]) -> FloatArray:
        """See `Scorer.score`."""
        check_windows(windows, self.info.preset)
        if not windows:
            return no_logits()
        stacked = np.stack([np.stack(list(window)) for window in windows])
        logits: FloatArray = self._run(self._window, stacked).astype(np.float32)
        return logits

    def close(self) -> None:
        """See `Scorer.close`."""
        del self._encoder, self._window

    def _run(self, session: Any, values: np.ndarray[Any, Any]) -> Any:
        try:
            return session.run(None, {session.get_inputs()[0].name: values})[0]
        except Exception as error:
            raise BackendError(f"ONNX Runtime failed while running: {error}") from error

    def _choose_provider(self, device: DeviceName) -> str:
        has_cuda = CUDA_PROVIDER in self._runtime.get_available_providers()
        if device == "cuda" and not has_cuda:
            raise BackendError(
                "this ONNX Runtime has no CUDA provider: pip install 'istvt[gpu]', "
                "or use --device cpu"
            )
        return CUDA_PROVIDER if device == "cuda" else CPU_PROVIDER

    def _open_session(self, graph: Path) -> Any:
        options = self._runtime.SessionOptions()
        options.log_severity_level = 3
        if self._threads is not None:
            options.intra_op_num_threads = self._threads
        try:
            session = self._runtime.InferenceSession(
                str(graph), options, providers=[self._provider]
            )
        except Exception as error:
            raise BackendError(f"ONNX Runtime cannot load {graph}: {error}") from error
        if session.get_providers()[0] != self._provider:
            raise BackendError(
                f"ONNX Runtime loaded {graph.name} without {self._provider}: its CUDA or cuDNN "
                "libraries are missing or too old (see `istvt checks`); or use --device cpu"
            )
        return session
