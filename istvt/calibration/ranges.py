"""Quantise the fp32 window graph to INT8, using the features of calibration windows.

Only products with constant weights are quantised: symmetric S8 activations by their largest
magnitude, S8 weights per channel. The encoder stays in fp32: its first and depthwise convolutions
lose accuracy in INT8 and gain no speed.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from istvt.extras import require
from istvt.records import FloatArray

PRODUCTS = ("MatMul", "Gemm")


def quantize_window(graph: Path, out: Path, features: list[FloatArray]) -> None:
    """Write the INT8 copy of a window graph, with its weights beside it in `<name>.data`.

    Args:
        graph: fp32 graph with our nodes and their bodies.
        out: file to write; must not exist.
        features: `(1, T, *feature_shape)` each, from the encoder.
    """
    quantization = require("onnxruntime.quantization", extra="cpu")
    with _quiet_logging():
        quantization.quantize_static(
            str(graph),
            str(out),
            _Reader(features),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            nodes_to_quantize=_products_with_weights(graph),
            use_external_data_format=True,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,  # TensorRT-RTX refuses biases in INT32
                "OpTypesToExcludeOutputQuantization": list(PRODUCTS),
            },
        )


def to_unsigned_activations(graph: onnx.ModelProto) -> None:
    """Shift activations from S8 around 0 to U8 around 128, in place; the values stay the same.

    x86 multiplies U8 by S8 directly. S8 by S8 needs a correction.
    """
    weights = {tensor.name: tensor for tensor in graph.graph.initializer}
    zero_points = {node.input[2] for node in graph.graph.node if node.op_type == "QuantizeLinear"}
    for name in zero_points:
        zeros = onnx.numpy_helper.to_array(weights[name])
        moved = (zeros.astype(np.int16) + 128).astype(np.uint8)
        weights[name].CopyFrom(onnx.numpy_helper.from_array(moved, name))


class _Reader:
    """Feeds windows to ONNX Runtime's calibrator one by one."""

    def __init__(self, features: list[FloatArray]) -> None:
        self._features = iter(features)

    def get_next(self) -> dict[str, FloatArray] | None:
        window = next(self._features, None)
        return None if window is None else {"features": window}

    def __iter__(self) -> Iterator[dict[str, FloatArray]]:
        return ({"features": window} for window in self._features)


def _products_with_weights(graph: Path) -> list[str]:
    proto = onnx.load(graph, load_external_data=False)
    constants = {tensor.name for tensor in proto.graph.initializer}
    return [
        node.name
        for node in proto.graph.node
        if node.op_type in PRODUCTS and node.input[1] in constants
    ]


@contextmanager
def _quiet_logging() -> Iterator[None]:
    """Hide the quantiser's advice about preparing graphs, which does not apply."""
    root: Any = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
