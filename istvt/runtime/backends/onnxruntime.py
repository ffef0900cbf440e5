"""A bundle's graphs in ONNX Runtime on the CPU."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from istvt.errors import BackendError
from istvt.export.bundle import Bundle
from istvt.extras import require
from istvt.runtime.backends.arrays import ArrayScorer, GraphName
from istvt.runtime.scorer import DeviceName, ScorerInfo

CPU_PROVIDER = "CPUExecutionProvider"


class OnnxRuntimeScorer(ArrayScorer):
    """Both graphs as ONNX Runtime sessions.

    Args:
        bundle: what to run.
        device: `cpu` or `auto`.
        threads: of the model; all cores where None.
        rounds: round what each node gives to the graph's own type, as a GPU does. bf16 graphs
            always run so: this provider has few kernels for bf16.

    Raises:
        MissingExtraError: ONNX Runtime is not installed; or onnx, where graphs are rounded.
        BackendError: CUDA was asked for, or a graph cannot be loaded.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        device: DeviceName,
        threads: int | None = None,
        rounds: bool = False,
    ) -> None:
        if device == "cuda":
            raise BackendError("these are sessions on the CPU: use --device cpu")
        runtime = require("onnxruntime", extra="cpu")
        graphs: list[Path | bytes] = [bundle.encoder, bundle.window]
        if rounds or bundle.precision == "bf16":
            graphs = [_rounded(bundle.encoder), _rounded(bundle.window)]
        encoder, window = (
            open_session(runtime, graph, CPU_PROVIDER, threads=threads) for graph in graphs
        )
        self._sessions = {"encoder": encoder, "window": window}
        self.info = ScorerInfo(
            backend="onnxruntime",
            device="cpu",
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


def open_session(
    runtime: ModuleType,
    graph: Path | bytes,
    provider: str,
    *,
    options: dict[str, str] | None = None,
    threads: int | None = None,
) -> Any:
    """Load a graph, from its file or serialised, into one provider and no other.

    Raises:
        BackendError: it cannot be loaded, or the provider did not start.
    """
    settings = runtime.SessionOptions()
    settings.log_severity_level = 3
    settings.add_session_config_entry("session.qdqisint8allowed", "1")
    if threads is not None:
        settings.intra_op_num_threads = threads
    source = graph if isinstance(graph, bytes) else str(graph)
    name = "a graph in memory" if isinstance(graph, bytes) else str(graph)
    try:
        session = runtime.InferenceSession(source, settings, providers=[(provider, options or {})])
    except Exception as error:
        raise BackendError(f"ONNX Runtime cannot load {name}: {error}") from error
    if session.get_providers()[0] != provider:
        raise BackendError(
            f"ONNX Runtime loaded {name} without {provider}: the libraries it needs are missing "
            "or too old (see `istvt checks`); or use --device cpu"
        )
    return session


def _rounded(graph: Path) -> bytes:
    onnx = require("onnx", extra="cpu")
    from istvt.export.rounded import round_between_nodes

    content: bytes = round_between_nodes(onnx.load(graph)).SerializeToString()
    return content
