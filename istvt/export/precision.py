"""Rewrite a bundle's fp32 graphs in fp16, bf16 or INT8.

Inputs and outputs keep their types, so the caller sees no change. In fp16 and bf16 the head stays
in fp32: it computes one token, and rounding the logit itself would harm a large logit most. Norms,
softmax and attention read low-precision tensors and compute in fp32 inside, by their ONNX
definitions and in the kernels. Casts to fp32 around them changed no logit. Residual sums in fp32
changed logits by 0.005 at most (docs/performance.md).
"""

from pathlib import Path

import numpy as np
import onnx

from istvt.bundle.manifest import Bundle
from istvt.calibration.ranges import quantize_window, to_unsigned_activations
from istvt.export.lower import LowPrecision, lower_graph, tail_nodes
from istvt.kernels.functions import inline_bodies
from istvt.records import UInt8Array
from istvt.runtime.backends.choose import open_scorer


def lower_graphs(bundle: Bundle, precision: LowPrecision) -> None:
    """Rewrite the bundle's graphs in fp16 or bf16, in place.

    Raises:
        UsageError: a weight is too large for the precision.
    """
    onnx.save(lower_graph(onnx.load(bundle.encoder), precision), bundle.encoder)
    window = onnx.load(bundle.window)
    _save_window(bundle, lower_graph(window, precision, keep=tail_nodes(window)))


def quantize_graphs(
    bundle: Bundle, faces: UInt8Array, *, around: LowPrecision | None = None
) -> None:
    """Rewrite the bundle's window graph in INT8, in place.

    The copy for OpenVINO shares the weights and computes the same with unsigned activations.

    Args:
        bundle: with fp32 graphs.
        faces: calibration windows `(m, T, S, S, 3)`.
        around: the precision of everything that is not INT8, for engines; None is fp32.
    """
    with open_scorer(bundle, backend="onnxruntime", device="cpu") as scorer:
        features = [np.stack(scorer.encode(window))[None] for window in faces]
    quantized = bundle.window.with_name("quantized.onnx")
    quantize_window(bundle.window, quantized, features)
    _save_window(bundle, onnx.load(quantized))
    for left in (quantized, _weights_of(quantized)):
        left.unlink(missing_ok=True)  # absent if the graph itself holds its few weights
    if around is not None:
        lower_graphs(bundle, around)
    inlined = onnx.load(bundle.inlined_window, load_external_data=False)
    to_unsigned_activations(inlined)
    onnx.save(inlined, bundle.inlined_window)


def _save_window(bundle: Bundle, window: onnx.ModelProto) -> None:
    """Replace the window graph, its weights and the copy without our nodes."""
    weights = _weights_of(bundle.window)
    weights.unlink(missing_ok=True)
    onnx.save(window, bundle.window, save_as_external_data=True, location=weights.name)
    without_weights = onnx.load(bundle.window, load_external_data=False)
    onnx.save(inline_bodies(without_weights), bundle.inlined_window)


def _weights_of(graph: Path) -> Path:
    return graph.with_name(graph.name + ".data")
