"""Run a bundle's graphs in ONNX Runtime on the CPU."""

import logging
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from istvt.bundle.manifest import Bundle
from istvt.errors import BackendError
from istvt.extras import require
from istvt.runtime.backends.arrays import ArrayScorer, GraphName
from istvt.scorer import DeviceName

logger = logging.getLogger(__name__)

CPU_PROVIDER = "CPUExecutionProvider"
# The nodes that take time. Every provider leaves the arithmetic of shapes to the CPU on purpose.
HEAVY = {
    *("Attention", "Conv", "DequantizeLinear", "Gelu", "Gemm", "LayerNormalization"),
    *("MatMul", "MaxPool", "QuantizeLinear", "Relu", "Softmax"),
}


class OnnxRuntimeScorer(ArrayScorer):
    """Both graphs as ONNX Runtime sessions.

    Args:
        bundle: what to run.
        device: `cpu` or `auto`.
        threads: of the model; None uses all cores.
        rounds: round each node's output to the graph's own type, as a GPU does. bf16 graphs
            always run so: this provider has few kernels for bf16.

    Raises:
        MissingExtraError: ONNX Runtime is not installed, or onnx, which rounding needs.
        BackendError: CUDA was requested, or a graph cannot be loaded.
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
        self.info = bundle.scorer_info("onnxruntime", device="cpu")

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

    def free(self) -> None:
        """See `ClosingScorer.free`."""
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
        BackendError: it cannot be loaded, or the provider did not start or took none of its nodes.
    """
    settings = runtime.SessionOptions()
    settings.log_severity_level = 3
    settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    settings.add_session_config_entry("session.qdqisint8allowed", "1")
    if threads is not None:
        settings.intra_op_num_threads = threads
    source = graph if isinstance(graph, bytes) else str(graph)
    name = "a graph in memory" if isinstance(graph, bytes) else str(graph)
    try:
        session = runtime.InferenceSession(
            source, settings, providers=[(provider, options or {})], enable_fallback=0
        )
    except Exception as error:
        raise BackendError(f"ONNX Runtime cannot load {name}: {error}") from error
    if session.get_providers()[0] != provider:
        raise BackendError(
            f"ONNX Runtime loaded {name} without {provider}: the libraries it needs are missing "
            "or too old (see `istvt checks`); or use --device cpu"
        )
    if provider != CPU_PROVIDER and hasattr(session, "get_provider_graph_assignment_info"):
        check_placement(session.get_provider_graph_assignment_info(), provider, name)
    return session


def check_placement(parts: Iterable[Any], provider: str, name: str) -> None:
    """Warn of nodes that a provider left to the CPU, since each pass then waits for copies.

    Args:
        parts: of a graph, as sessions report them from ONNX Runtime 1.24 on.
        provider: that should run it.
        name: of the graph.

    Raises:
        BackendError: the CPU has to run all of it.
    """
    left: Counter[str] = Counter()
    num_taken = 0
    for part in parts:
        heavy = [node.op_type for node in part.get_nodes() if node.op_type in HEAVY]
        if part.ep_name == CPU_PROVIDER:
            left.update(heavy)
        else:
            num_taken += len(heavy)
    told = ", ".join(f"{count} {kind}" for kind, count in sorted(left.items()))
    advice = "a newer ONNX Runtime may have kernels for them, or use --backend torch"
    if left and not num_taken:
        raise BackendError(f"{provider} runs no heavy node of {name}, not {told}: {advice}")
    if left:
        logger.warning("%s runs partly on the CPU, not in %s: %s; %s", name, provider, told, advice)


def _rounded(graph: Path) -> bytes:
    onnx = require("onnx", extra="cpu")
    from istvt.runtime.backends.rounded import round_between_nodes

    content: bytes = round_between_nodes(onnx.load(graph)).SerializeToString()
    return content
