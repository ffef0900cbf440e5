"""Rewrite fp32 graphs in fp16, bf16 or INT8: precision is a property of the ONNX files.

Inputs and outputs keep their types, so the host sees no change. In fp16 and bf16 the head stays in
fp32: it computes one token, and rounding the logit itself is what a large logit notices most.
Norms, softmax and attention take low-precision tensors and compute in fp32 within (their ONNX
definitions and the kernels say so); keeping casts to fp32 around them changed no logit. Sums of the
residual in fp32 changed logits by 0.005 at most (docs/performance.md).
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

    The copy for OpenVINO has the same weights and the same values with unsigned activations.

    Args:
        bundle: with fp32 graphs.
        faces: calibration windows `(m, T, S, S, 3)`.
        around: of everything that is not INT8, for engines; fp32 where None.
    """
    with open_scorer(bundle, backend="onnxruntime", device="cpu") as scorer:
        features = [np.stack(scorer.encode(window))[None] for window in faces]
    quantized = bundle.window.with_name("quantized.onnx")
    quantize_window(bundle.window, quantized, features)
    _save_window(bundle, onnx.load(quantized))
    for left in (quantized, _weights_of(quantized)):
        left.unlink(missing_ok=True)  # few weights lie in the graph itself
    if around is not None:
        lower_graphs(bundle, around)
    inlined = onnx.load(bundle.inlined_window, load_external_data=False)
    to_unsigned_activations(inlined)
    onnx.save(inlined, bundle.inlined_window)


def _save_window(bundle: Bundle, window: onnx.ModelProto) -> None:
    """Replace the window's graph, its weights, and the copy without our nodes."""
    weights = _weights_of(bundle.window)
    weights.unlink(missing_ok=True)
    onnx.save(window, bundle.window, save_as_external_data=True, location=weights.name)
    without_weights = onnx.load(bundle.window, load_external_data=False)
    onnx.save(inline_bodies(without_weights), bundle.inlined_window)


def _weights_of(graph: Path) -> Path:
    return graph.with_name(graph.name + ".data")
