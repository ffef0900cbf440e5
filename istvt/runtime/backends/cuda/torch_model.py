"""Run a model in PyTorch on CUDA: half precision, fused kernels, window passes as CUDA graphs."""

import logging
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from typing import Any

from istvt.compute import torch_error
from istvt.errors import DeviceLostError
from istvt.records import FloatPrecision
from istvt.runtime.backends.cuda.graph import GraphsBySize

logger = logging.getLogger(__name__)


PRECISIONS: dict[str, FloatPrecision] = {"fp16": "fp16", "bf16": "bf16", "int8": "fp16"}


def torch_precision(bundle_precision: str) -> FloatPrecision:
    """Choose PyTorch's precision for a bundle; fp16 replaces INT8, for which it has no products."""
    return PRECISIONS.get(bundle_precision, "fp32")


def lower_model(torch: Any, model: Any, precision: FloatPrecision) -> Any:
    """Convert a model to fp16 or bf16 in place, with its head in fp32 as in the exported graphs."""
    if precision == "fp32":
        return model
    model.to(torch.float16 if precision == "fp16" else torch.bfloat16)
    from istvt.models.base import HasFp32Head

    if isinstance(model, HasFp32Head):
        model.keep_head_in_fp32()
    return model


def fused(model: Any) -> AbstractContextManager[None]:
    """Run a model's attentions in our kernels, if they work, until the context ends.

    Triton compiles at a kernel's first call, and needs a C compiler for the launcher. Failures
    therefore show up here, not at the first window.
    """
    from istvt.models.base import HasAttention

    if not isinstance(model, HasAttention):
        return nullcontext()
    if find_spec("triton") is None:
        logger.warning("Triton is not installed: PyTorch runs without the fused attention")
        return nullcontext()
    from istvt.kernels import ops

    try:
        _try_out(model, (ops.temporal_attention, ops.spatial_attention))
    except Exception as error:
        if isinstance(error, RuntimeError) and isinstance(torch_error(error), DeviceLostError):
            raise  # nothing else would run either
        logger.warning(
            "PyTorch runs without the fused attention, whose kernels cannot be started here: %s",
            " ".join(str(error).split()) or repr(error),
        )
        return nullcontext()
    return ops.fused_attention(model)


def _try_out(model: Any, kernels: Iterable[Callable[[Any], Any]]) -> None:
    """Run each kernel once on the shape of one window."""
    qkv = model.zero_qkv()
    for kernel in kernels:
        kernel(qkv).cpu()  # waits for it


class WindowPasses:
    """Calls `score`, from the second call of a fixed batch size on as a CUDA graph.

    A failed capture is an error, without a fall-back. PyTorch's allocator would continue as if the
    capture were running: in 2.13, `CUDAGraph::capture_end` gives up before it ends that.

    Args:
        torch: the package.
        score: maps features `(m, T, *feature_shape)` to logits `(m,)`.
    """

    def __init__(self, torch: Any, score: Callable[[Any], Any]) -> None:
        self._torch, self._score = torch, score
        self._graphs = GraphsBySize[tuple[Any, Any, Any]]()

    def __call__(self, features: Any) -> Any:
        """Return logits that stay valid until the next call."""
        batch = len(features)
        captured = self._graphs.find(batch, lambda: self._capture(features))
        if captured is None:
            logits = self._score(features)
            self._graphs.note_pass(batch)
            return logits
        graph, source, logits = captured
        source.copy_(features)
        graph.replay()
        return logits

    def _capture(self, features: Any) -> tuple[Any, Any, Any]:
        cuda, source = self._torch.cuda, features.clone()
        graph = cuda.CUDAGraph()
        cuda.synchronize()
        try:
            with cuda.graph(graph, capture_error_mode="thread_local"):
                logits = self._score(source)
        except RuntimeError as error:
            raise RuntimeError(f"a window pass cannot be captured: {error}") from error
        return graph, source, logits
