"""Convert an fp32 ONNX graph to fp16 or bf16.

Inputs and outputs keep their types, so the caller sees no change. The functions' bodies name no
types and stay as they are. Every runtime reads its precision from the graph, which TensorRT builds
strongly typed.
"""

from collections.abc import Collection, Iterator
from typing import Literal, TypeAlias

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from istvt.errors import UsageError

LowPrecision: TypeAlias = Literal["fp16", "bf16"]

ELEMENT_TYPES = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
NUMPY_TYPES = {"fp16": np.dtype(np.float16), "bf16": np.dtype(ml_dtypes.bfloat16)}


def lower_graph(
    graph: onnx.ModelProto, precision: LowPrecision, *, keep: Collection[str] = ()
) -> onnx.ModelProto:
    """Copy a graph and convert its fp32 tensors to a lower precision.

    Args:
        graph: with its weights loaded.
        precision: of every floating-point tensor except inputs, outputs and those of `keep`.
        keep: names of nodes that stay in fp32; values between two of them are not rounded.

    Raises:
        UsageError: a weight is too large for the precision.
    """
    lowered = onnx.shape_inference.infer_shapes(graph)
    body = lowered.graph
    work = _Lowering(body, precision, frozenset(keep))
    nodes = [step for node in body.node for step in work.lower(node)]
    nodes.extend(work.outputs())
    for tensor in body.initializer:
        if tensor.name in work.low:
            lower_tensor(tensor, precision)
    del body.node[:], body.value_info[:]
    body.node.extend(nodes)
    return lowered


def tail_nodes(graph: onnx.ModelProto) -> list[str]:
    """Name the nodes after the last residual sum: the head that computes a window's logit.

    A graph whose only sums are biases is all head.
    """
    nodes, weights = list(graph.graph.node), {tensor.name for tensor in graph.graph.initializer}
    sums = [node.op_type == "Add" and not weights & set(node.input) for node in nodes]
    last = max((position for position, is_sum in enumerate(sums) if is_sum), default=-1)
    return [node.name for node in nodes[last + 1 :]]


def lower_tensor(tensor: TensorProto, precision: LowPrecision) -> None:
    """Round an fp32 tensor in place; leave tensors of other types alone."""
    if tensor.data_type != TensorProto.FLOAT:
        return
    values = numpy_helper.to_array(tensor)
    with np.errstate(over="ignore"):
        lowered: NDArray[np.generic] = values.astype(NUMPY_TYPES[precision])
    if not np.isfinite(lowered.astype(np.float32)).all():
        raise UsageError(
            f"{tensor.name} holds {float(np.abs(values).max()):.3g}, too large for {precision}: "
            "export with --bf16, whose range is that of fp32, or --fp32"
        )
    tensor.CopyFrom(numpy_helper.from_array(lowered, tensor.name))


class _Lowering:
    """Converts the nodes of a graph in order and tracks the forms of each value.

    Attributes:
        low, full: the names of each floating-point value's lowered and fp32 forms. A missing form
            is created by a cast when a node first needs it.
    """

    def __init__(
        self, body: onnx.GraphProto, precision: LowPrecision, keep: frozenset[str]
    ) -> None:
        self._body, self._keep, self._precision = body, keep, precision
        values = [*body.value_info, *body.input, *body.output]
        types = {value.name: value.type.tensor_type.elem_type for value in values}
        types.update((tensor.name, tensor.data_type) for tensor in body.initializer)
        self._floats = {name for name, kind in types.items() if kind == TensorProto.FLOAT}
        used_low = {name for node in body.node if node.name not in keep for name in node.input}
        weights = {tensor.name for tensor in body.initializer} & self._floats
        self.low = {name: name for name in weights & used_low}
        self.full = {name: name for name in weights - used_low}
        self.full.update((value.name, value.name) for value in body.input)

    def lower(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        is_kept = node.name in self._keep
        forms = self.full if is_kept else self.low
        for position, name in enumerate(node.input):
            if name in self._floats:
                yield from self._form(name, is_full=is_kept)
                node.input[position] = forms[name]
        for position, name in enumerate(node.output):
            if name in self._floats:
                is_output = any(name == value.name for value in self._body.output)
                forms[name] = f"{name}__low" if is_output and not is_kept else name
                node.output[position] = forms[name]
        if not is_kept:
            self._lower_attributes(node)
        yield node

    def outputs(self) -> Iterator[onnx.NodeProto]:
        for value in self._body.output:
            if value.name in self.low and value.name not in self.full:
                yield _cast(self.low[value.name], value.name, TensorProto.FLOAT)

    def _form(self, name: str, *, is_full: bool) -> Iterator[onnx.NodeProto]:
        if is_full and name not in self.full:
            self.full[name] = f"{name}__fp32"
            yield _cast(self.low[name], self.full[name], TensorProto.FLOAT)
        elif not is_full and name not in self.low:
            self.low[name] = f"{name}__low"
            yield _cast(self.full[name], self.low[name], ELEMENT_TYPES[self._precision])

    def _lower_attributes(self, node: onnx.NodeProto) -> None:
        for attribute in node.attribute:
            if attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = ELEMENT_TYPES[self._precision]
            if attribute.HasField("t"):
                lower_tensor(attribute.t, self._precision)


def _cast(source: str, target: str, element_type: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], name=f"cast_{target}", to=element_type)
