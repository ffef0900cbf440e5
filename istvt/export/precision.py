"""fp32 graphs in, fp16 or INT8 graphs out: precision is a property of the ONNX files.

Both conversions are ONNX Runtime's; inputs and outputs keep their types, so the host sees no
change.
"""

from pathlib import Path

import numpy as np
import onnx

from istvt.calibration.ranges import quantize_window, to_unsigned_activations
from istvt.export.bundle import Bundle
from istvt.export.functions import inline_bodies
from istvt.extras import require
from istvt.records import UInt8Array
from istvt.runtime.scorer import open_scorer


def halve_graphs(bundle: Bundle) -> None:
    """Rewrite the bundle's graphs in fp16, in place."""
    onnx.save(_halved(bundle.encoder), bundle.encoder)
    window = _halved(bundle.window)
    weights = _weights_of(bundle.window)
    weights.unlink()
    onnx.save(window, bundle.window, save_as_external_data=True, location=weights.name)
    onnx.save(inline_bodies(_without_weights(bundle.window)), bundle.inlined_window)


def quantize_graphs(bundle: Bundle, faces: UInt8Array) -> None:
    """Rewrite the bundle's window graph in INT8, in place.

    The copy for OpenVINO has the same weights and the same values with unsigned activations.

    Args:
        bundle: with fp32 graphs.
        faces: calibration windows `(m, T, S, S, 3)`.
    """
    with open_scorer(bundle, backend="onnxruntime", device="cpu") as scorer:
        features = [np.stack(scorer.encode(window))[None] for window in faces]
    quantized = bundle.window.with_name("quantized.onnx")
    quantize_window(bundle.window, quantized, features)
    _weights_of(bundle.window).unlink()
    graph = onnx.load(quantized)
    onnx.save(
        graph, bundle.window, save_as_external_data=True, location=_weights_of(bundle.window).name
    )
    for left in (quantized, _weights_of(quantized)):
        left.unlink()
    inlined = inline_bodies(_without_weights(bundle.window))
    to_unsigned_activations(inlined)
    onnx.save(inlined, bundle.inlined_window)


def _halved(path: Path) -> onnx.ModelProto:
    float16 = require("onnxruntime.transformers.float16", extra="cpu")
    return float16.convert_float_to_float16(onnx.load(path), keep_io_types=True)


def _weights_of(graph: Path) -> Path:
    return graph.with_name(graph.name + ".data")


def _without_weights(graph: Path) -> onnx.ModelProto:
    return onnx.load(graph, load_external_data=False)
