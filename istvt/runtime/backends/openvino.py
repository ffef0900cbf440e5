"""Run a bundle's graphs in OpenVINO on the CPU, in bf16 where the processor supports it."""

from pathlib import Path
from typing import Any

import numpy as np

from istvt.bundle.manifest import Bundle
from istvt.errors import BackendError
from istvt.extras import require
from istvt.runtime.backends.arrays import ArrayScorer, GraphName
from istvt.scorer import DeviceName

PRECISIONS = {"f32": "fp32", "f16": "fp16", "bf16": "bf16"}


class OpenVinoScorer(ArrayScorer):
    """Both graphs compiled for latency, for a batch of one.

    One window keeps a CPU busy, so a larger batch gains nothing. With all shapes known the compiler
    fuses more. Rows of a batch run one after another.

    Raises:
        MissingExtraError: OpenVINO is not installed.
        BackendError: CUDA was requested, or a graph cannot be compiled.
    """

    def __init__(self, bundle: Bundle, *, device: DeviceName, threads: int | None = None) -> None:
        if device == "cuda":
            raise BackendError("OpenVINO does not run on CUDA devices: use --backend onnxruntime")
        self._core = require("openvino", extra="openvino").Core()
        self._properties = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1"}
        if threads is not None:
            self._properties["INFERENCE_NUM_THREADS"] = str(threads)
        self._requests = {
            "encoder": self._compile(bundle.encoder),
            "window": self._compile(bundle.inlined_window),  # it supports no local functions
        }
        self.info = bundle.scorer_info("openvino", device="cpu", precision=self._precision(bundle))

    def run(self, graph: GraphName, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """See `ArrayScorer.run`."""
        request = self._requests[graph]
        rows = []
        try:
            for row in range(len(values)):
                request.infer({0: values[row : row + 1]}, share_inputs=True)
                rows.append(request.get_output_tensor().data.copy())
        except RuntimeError as error:
            raise BackendError(f"OpenVINO failed while running: {error}") from error
        return np.concatenate(rows)

    def free(self) -> None:
        """See `ClosingScorer.free`."""
        self._requests.clear()

    def _precision(self, bundle: Bundle) -> str:
        """Return the precision of products; the rest of an INT8 graph runs as the CPU allows."""
        if bundle.precision == "int8":
            return "int8"
        compiled = self._requests["window"].get_compiled_model()
        hint: str = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        return PRECISIONS.get(hint, hint)

    def _compile(self, graph: Path) -> Any:
        try:
            model = self._core.read_model(str(graph))
            model.reshape({0: [1, *model.inputs[0].partial_shape[1:]]})
            compiled = self._core.compile_model(model, "CPU", self._properties)
        except RuntimeError as error:
            raise BackendError(f"OpenVINO cannot compile {graph}: {error}") from error
        return compiled.create_infer_request()
