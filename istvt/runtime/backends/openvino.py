"""A bundle's graphs in OpenVINO on the CPU, in bf16 where the processor has it."""

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


class OpenVinoScorer(ClosesOnExit):
    """Both graphs compiled for latency.

    Raises:
        MissingExtraError: OpenVINO is not installed.
        BackendError: CUDA was asked for, or a graph cannot be compiled.
    """

    def __init__(self, bundle: Bundle, *, device: DeviceName, threads: int | None = None) -> None:
        if device == "cuda":
            raise BackendError("OpenVINO does not run on CUDA devices: use --backend onnxruntime")
        self._openvino = require("openvino", extra="openvino")
        self._core = self._openvino.Core()
        self._properties = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1"}
        if threads is not None:
            self._properties["INFERENCE_NUM_THREADS"] = str(threads)
        self._encoder = self._compile(bundle.encoder)
        self._window = self._compile(bundle.inlined_window)  # it knows no local functions
        self.info = ScorerInfo(
            backend="openvino",
            device="cpu",
            precision=self._precision(),
            bundle_digest=bundle.digest,
            preset=bundle.config.preset,
        )

    def encode(self, faces: UInt8Array) -> list[Features]:
        """See `Scorer.encode`; a handle is an array `(h*w, C)`."""
        check_faces(faces, self.info.preset)
        if len(faces) == 0:
            return []
        return list(self._infer(self._encoder, np.ascontiguousarray(faces)))

    def score(self, windows: Sequence[Sequence[Features]]) -> FloatArray:
        """See `Scorer.score`."""
        check_windows(windows, self.info.preset)
        if not windows:
            return no_logits()
        stacked = np.stack([np.stack(list(window)) for window in windows])
        logits: FloatArray = self._infer(self._window, stacked).astype(np.float32)
        return logits

    def close(self) -> None:
        """See `Scorer.close`."""
        del self._encoder, self._window

    def _infer(self, request: Any, values: np.ndarray[Any, Any]) -> Any:
        try:
            request.infer({0: values}, share_inputs=True)
        except RuntimeError as error:
            raise BackendError(f"OpenVINO failed while running: {error}") from error
        return request.get_output_tensor().data.copy()

    def _precision(self) -> str:
        hint = self._window.get_compiled_model().get_property("INFERENCE_PRECISION_HINT")
        return {"f32": "fp32", "f16": "fp16", "bf16": "bf16"}.get(hint.to_string(), str(hint))

    def _compile(self, graph: Path) -> Any:
        try:
            compiled = self._core.compile_model(str(graph), "CPU", self._properties)
        except RuntimeError as error:
            raise BackendError(f"OpenVINO cannot compile {graph}: {error}") from error
        return compiled.create_infer_request()
