"""ISTVT for CUDA in PyTorch: half precision, our fused kernels, window passes as CUDA graphs."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from typing import Any, Literal, TypeAlias

from istvt.runtime.backends.cuda_graph import CAPTURED_BATCHES

logger = logging.getLogger(__name__)

TorchPrecision: TypeAlias = Literal["fp32", "fp16", "bf16"]

PRECISIONS: dict[str, TorchPrecision] = {"fp16": "fp16", "bf16": "bf16", "int8": "fp16"}


def torch_precision(bundle_precision: str) -> TorchPrecision:
    """Choose what PyTorch computes in for a bundle; it has no INT8 products: fp16 stands in."""
    return PRECISIONS.get(bundle_precision, "fp32")


def lower_model(torch: Any, model: Any, precision: TorchPrecision) -> Any:
    """Put a model into fp16 or bf16, in place, with its head in fp32 as in the exported graphs."""
    if precision == "fp32":
        return model
    model.to(torch.float16 if precision == "fp16" else torch.bfloat16)
    model.norm.float()
    model.head.float()
    model.norm.register_forward_pre_hook(lambda layer, values: (values[0].float(),))
    return model


def fused(model: Any) -> AbstractContextManager[None]:
    """Let a model's attentions run in our kernels until the context ends, where Triton is."""
    if find_spec("triton") is None:
        logger.warning("Triton is not installed: PyTorch runs without the fused attention")
        return nullcontext()
    from istvt.export.kernels.ops import fused_attention

    return fused_attention(model)


class WindowPasses:
    """Calls `score`, from the second call of a fixed batch size on as a CUDA graph.

    The first call compiles kernels and takes memory, which a capture must not contain.

    Args:
        torch: the package.
        score: features `(m, T, h*w, C)` to logits `(m,)`.
    """

    def __init__(self, torch: Any, score: Callable[[Any], Any]) -> None:
        self._torch, self._score = torch, score
        self._graphs: dict[int, tuple[Any, Any, Any] | None] = {}

    def __call__(self, features: Any) -> Any:
        """Give logits that stay valid until the next call."""
        batch = len(features)
        if batch not in CAPTURED_BATCHES:
            return self._score(features)
        if batch not in self._graphs:
            self._graphs[batch] = None
            return self._score(features)
        captured = self._graphs[batch] or self._capture(features)
        self._graphs[batch] = captured
        graph, source, logits = captured
        source.copy_(features)
        graph.replay()
        return logits

    def _capture(self, features: Any) -> tuple[Any, Any, Any]:
        source = features.clone()
        graph = self._torch.cuda.CUDAGraph()
        self._torch.cuda.synchronize()
        with self._torch.cuda.graph(graph, capture_error_mode="thread_local"):
            logits = self._score(source)
        return graph, source, logits
