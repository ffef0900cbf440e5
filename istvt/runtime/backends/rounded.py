"""Copy an fp16 or bf16 graph so that it computes in fp32 and rounds the output of each node.

ONNX Runtime's CPU provider computes fp16 graphs in fp32 and drops the rounding between nodes. So
300 * 300 / 300 is 300 there, and infinite on a GPU. It also has few bf16 kernels. The copy shows on
any CPU what a GPU's tensor cores do with the same file: low-precision values between nodes, fp32
sums within one.
"""

import onnx
from onnx import TensorProto, helper

from istvt.kernels.functions import inline_bodies

LOW_TYPES = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
MOVES = frozenset(
    {
        *("Concat", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split"),
        *("Squeeze", "Tile", "Transpose", "Unsqueeze", "MaxPool", "Relu"),
    }
)


def round_between_nodes(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Copy a graph, with its weights loaded, whose inputs and outputs are not of low precision."""
    copy = onnx.shape_inference.infer_shapes(inline_bodies(graph))
    body = copy.graph
    types = {value.name: value.type.tensor_type.elem_type for value in body.value_info}
    types.update((tensor.name, tensor.data_type) for tensor in body.initializer)
    nodes = []
    for tensor in body.initializer:
        if tensor.data_type in LOW_TYPES:
            nodes.append(_cast(f"{tensor.name}__low", tensor.name, TensorProto.FLOAT))
            tensor.name = f"{tensor.name}__low"
    for node in body.node:
        nodes.extend(_round_outputs(node, types))
    del body.node[:], body.value_info[:]
    body.node.extend(nodes)
    return copy


def _round_outputs(node: onnx.NodeProto, types: dict[str, int]) -> list[onnx.NodeProto]:
    """Follow each output of a computing node by casts to low precision and back."""
    low = {name: types[name] for name in node.output if types.get(name) in LOW_TYPES}
    for attribute in node.attribute:
        if attribute.name == "to" and attribute.i in LOW_TYPES:
            attribute.i = TensorProto.FLOAT
        if attribute.HasField("t") and attribute.t.data_type in LOW_TYPES:
            values = onnx.numpy_helper.to_array(attribute.t).astype("float32")
            attribute.t.CopyFrom(onnx.numpy_helper.from_array(values))
    if node.op_type in MOVES or not low:
        return [node]
    for position, name in enumerate(node.output):
        node.output[position] = f"{name}__exact" if name in low else name
    casts = [
        step
        for name, element_type in low.items()
        for step in (
            _cast(f"{name}__exact", f"{name}__rounded", element_type),
            _cast(f"{name}__rounded", name, TensorProto.FLOAT),
        )
    ]
    return [node, *casts]


def _cast(source: str, target: str, element_type: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], name=f"round_{target}", to=element_type)
