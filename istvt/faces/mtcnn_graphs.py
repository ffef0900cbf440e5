"""Build MTCNN's three networks as ONNX graphs from its weights.

Source: Zhang et al., "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional
Networks" (2016). Layers are named as in facenet-pytorch.

Each network takes raw pixels `(n, 3, h, w)`, float, 0 to 255. The first layer includes the scaling
to (x - 127.5) / 128. The softmax over (no face, face) becomes the sigmoid of their difference.

PReLU becomes x + (1 - slope) relu(-x), two depthwise layers. ONNX Runtime's PRelu is 2.5 times
slower on the CPU, because it leaves the blocked layout of the convolutions.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from istvt.extras import require
from istvt.records import FloatArray

Weights = Mapping[str, FloatArray]
OPSET = 17
IR_VERSION = 8
TRANSPOSED = {"transB": 1}  # torch stores linear weights as (out, in)


class GraphBuilder:
    """Builds a graph layer by layer."""

    def __init__(self, name: str, weights: Weights) -> None:
        self._onnx = require("onnx", extra="train")
        self._name = name
        self._weights = weights
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._outputs: list[Any] = []

    def conv(self, source: str, layer: str, *, takes_pixels: bool = False) -> str:
        """Add a convolution without padding."""
        weight, bias = self._weights[f"{layer}.weight"], self._weights[f"{layer}.bias"]
        if takes_pixels:
            bias = bias - weight.sum((1, 2, 3)) * np.float32(127.5 / 128)
            weight = weight / np.float32(128)
        return self._node("Conv", source, layer, constants=(weight, bias))

    def prelu(self, source: str, layer: str) -> str:
        """Add a PReLU after a convolution."""
        slope = self._weights[f"{layer}.weight"][:, None, None, None]
        per_channel = {"group": len(slope)}
        flipped = self._node(
            "Conv",
            source,
            f"{layer}.flip",
            constants=(-np.ones_like(slope),),
            attributes=per_channel,
        )
        below = self._node("Relu", flipped, f"{layer}.below")
        change = self._node(
            "Conv", below, f"{layer}.change", constants=(1 - slope,), attributes=per_channel
        )
        return self._node("Add", change, layer, more_inputs=(source,))

    def pool(self, source: str, layer: str, *, size: int) -> str:
        """Add a max pool of stride 2 that keeps the incomplete last window."""
        shape = {"kernel_shape": [size, size], "strides": [2, 2], "ceil_mode": 1}
        return self._node("MaxPool", source, layer, attributes=shape)

    def flatten(self, source: str) -> str:
        """Flatten `(n, c, h, w)` to `(n, c*h*w)`."""
        return self._node("Flatten", source, "flat")

    def dense(
        self, source: str, layer: str, *, after_map: tuple[int, int, int] | None = None
    ) -> str:
        """Add a linear layer; `after_map` is the `(c, h, w)` that was flattened before it."""
        weight = self._weights[f"{layer}.weight"]
        if after_map is not None:  # facenet-pytorch flattens the map as (w, h, c)
            channels, height, width = after_map
            as_map = weight.reshape(-1, width, height, channels).transpose(0, 3, 2, 1)
            weight = as_map.reshape(len(weight), -1)
        return self._node(
            "Gemm",
            source,
            layer,
            constants=(weight, self._weights[f"{layer}.bias"]),
            attributes=TRANSPOSED,
        )

    def dense_prelu(self, source: str, layer: str) -> str:
        """Add a PReLU after a linear layer."""
        return self._node("PRelu", source, layer, constants=(self._weights[f"{layer}.weight"],))

    def face_logit(self, source: str, layer: str, *, operator: str) -> str:
        """Add the two-class layer as a single output: face minus no face."""
        weight, bias = self._weights[f"{layer}.weight"], self._weights[f"{layer}.bias"]
        difference = (weight[1:] - weight[:1], bias[1:] - bias[:1])
        attributes = TRANSPOSED if operator == "Gemm" else None
        return self._node(operator, source, layer, constants=difference, attributes=attributes)

    def sigmoid(self, source: str) -> str:
        """Turn a logit into a probability."""
        return self._node("Sigmoid", source, "probability.value")

    def output(self, source: str, name: str, shape: list[str | int]) -> None:
        """Publish a value as an output of the graph."""
        self._node("Identity", source, name)
        helper, floats = self._onnx.helper, self._onnx.TensorProto.FLOAT
        self._outputs.append(helper.make_tensor_value_info(name, floats, shape))

    def finish(self, input_shape: list[str | int]) -> bytes:
        """Check the graph and serialise it."""
        helper, floats = self._onnx.helper, self._onnx.TensorProto.FLOAT
        pixels = helper.make_tensor_value_info("pixels", floats, input_shape)
        graph = helper.make_graph(self._nodes, self._name, [pixels], self._outputs, self._constants)
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(
            graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="istvt"
        )
        self._onnx.checker.check_model(model, full_check=True)
        return model.SerializeToString()

    def _node(
        self,
        operator: str,
        source: str,
        output: str,
        *,
        constants: tuple[FloatArray, ...] = (),
        more_inputs: tuple[str, ...] = (),
        attributes: Mapping[str, Any] | None = None,
    ) -> str:
        names = [f"{output}.{index}" for index in range(len(constants))]
        for name, value in zip(names, constants, strict=True):
            array = np.ascontiguousarray(value, np.float32)
            self._constants.append(self._onnx.numpy_helper.from_array(array, name))
        inputs = [source, *more_inputs, *names]
        node = self._onnx.helper.make_node(
            operator, inputs, [output], name=output, **(attributes or {})
        )
        self._nodes.append(node)
        return output


def proposal_graph(weights: Weights) -> bytes:
    """Build P-Net: images `(n, 3, h, w)` to a face probability and box per 12 x 12 px cell."""
    graph = GraphBuilder("pnet", weights)
    x = graph.prelu(graph.conv("pixels", "conv1", takes_pixels=True), "prelu1")
    x = graph.pool(x, "pool1", size=2)
    x = graph.prelu(graph.conv(x, "conv2"), "prelu2")
    x = graph.prelu(graph.conv(x, "conv3"), "prelu3")
    logit = graph.face_logit(x, "conv4_1", operator="Conv")
    graph.output(graph.sigmoid(logit), "probability", ["n", 1, "rows", "columns"])
    graph.output(graph.conv(x, "conv4_2"), "box", ["n", 4, "rows", "columns"])
    return graph.finish(["n", 3, "h", "w"])


def rejection_graph(weights: Weights) -> bytes:
    """R-Net: crops `(n, 3, 24, 24)` to face probabilities and boxes."""
    graph = GraphBuilder("rnet", weights)
    x = graph.prelu(graph.conv("pixels", "conv1", takes_pixels=True), "prelu1")
    x = graph.pool(x, "pool1", size=3)
    x = graph.pool(graph.prelu(graph.conv(x, "conv2"), "prelu2"), "pool2", size=3)
    x = graph.flatten(graph.prelu(graph.conv(x, "conv3"), "prelu3"))
    x = graph.dense_prelu(graph.dense(x, "dense4", after_map=(64, 3, 3)), "prelu4")
    _add_heads(graph, x, face="dense5_1", box="dense5_2")
    return graph.finish(["n", 3, 24, 24])


def output_graph(weights: Weights) -> bytes:
    """O-Net: crops `(n, 3, 48, 48)` to face probabilities, boxes and five landmarks."""
    graph = GraphBuilder("onet", weights)
    x = graph.prelu(graph.conv("pixels", "conv1", takes_pixels=True), "prelu1")
    x = graph.pool(x, "pool1", size=3)
    x = graph.pool(graph.prelu(graph.conv(x, "conv2"), "prelu2"), "pool2", size=3)
    x = graph.pool(graph.prelu(graph.conv(x, "conv3"), "prelu3"), "pool3", size=2)
    x = graph.flatten(graph.prelu(graph.conv(x, "conv4"), "prelu4"))
    x = graph.dense_prelu(graph.dense(x, "dense5", after_map=(128, 3, 3)), "prelu5")
    _add_heads(graph, x, face="dense6_1", box="dense6_2")
    graph.output(graph.dense(x, "dense6_3"), "landmarks", ["n", 10])
    return graph.finish(["n", 3, 48, 48])


def _add_heads(graph: GraphBuilder, source: str, *, face: str, box: str) -> None:
    logit = graph.face_logit(source, face, operator="Gemm")
    graph.output(graph.sigmoid(logit), "probability", ["n", 1])
    graph.output(graph.dense(source, box), "box", ["n", 4])
