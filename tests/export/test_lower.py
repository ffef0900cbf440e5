import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from istvt.errors import UsageError
from istvt.export.lower import lower_graph, tail_nodes
from istvt.runtime.backends.rounded import round_between_nodes

TYPES = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}


def graph_of(nodes, weights, *, columns=4):
    body = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", columns])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", columns])],
        [
            numpy_helper.from_array(value.astype(np.float32), name)
            for name, value in weights.items()
        ],
    )
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)


def run(model, x):
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0]


def node(kind, inputs, output, **attributes):
    return helper.make_node(kind, inputs, [output], name=f"{kind}_{output}", **attributes)


@pytest.fixture
def small():
    """A product, a sum, a norm, softmax and a last product."""
    rng = np.random.default_rng(0)
    nodes = [
        node("MatMul", ["x", "w"], "product"),
        node("Add", ["product", "x"], "sum"),
        node("LayerNormalization", ["sum", "scale", "shift"], "normed", stash_type=1),
        node("Softmax", ["normed"], "weights"),
        node("MatMul", ["weights", "v"], "y"),
    ]
    weights = {"w": rng.normal(size=(4, 4)), "v": rng.normal(size=(4, 4))}
    weights |= {"scale": rng.uniform(0.5, 2, 4), "shift": rng.normal(size=4)}
    return graph_of(nodes, weights), rng.normal(size=(5, 4)).astype(np.float32)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_weights_and_values_change_and_inputs_and_outputs_do_not(small, precision):
    lowered = lower_graph(small[0], precision)
    assert {tensor.data_type for tensor in lowered.graph.initializer} == {TYPES[precision]}
    ends = [*lowered.graph.input, *lowered.graph.output]
    assert {value.type.tensor_type.elem_type for value in ends} == {TensorProto.FLOAT}
    assert [node.op_type for node in lowered.graph.node].count("Cast") == 2
    assert {tensor.data_type for tensor in small[0].graph.initializer} == {TensorProto.FLOAT}


@pytest.mark.parametrize(("precision", "atol"), [("fp16", 2e-3), ("bf16", 2e-2)])
def test_rounding_shows_and_is_small(small, precision, atol):
    graph, x = small
    exact = run(graph, x)
    rounded = run(round_between_nodes(lower_graph(graph, precision)), x)
    difference = np.abs(rounded - exact).max()
    assert atol / 100 < difference < atol


def test_kept_nodes_hand_fp32_to_each_other(small):
    graph, x = small
    kept = [node.name for node in graph.graph.node]
    assert np.array_equal(run(lower_graph(graph, "fp16", keep=kept), x), run(graph, x))
    tail = tail_nodes(graph)
    assert len(tail) == 3
    lowered = lower_graph(graph, "fp16", keep=tail)
    types = {tensor.name: tensor.data_type for tensor in lowered.graph.initializer}
    assert types["v"] == types["scale"] == TensorProto.FLOAT
    assert types["w"] == TensorProto.FLOAT16
    casts = [node for node in lowered.graph.node if node.op_type == "Cast"]
    assert len(casts) == 2, "one down at the input, one up before the tail"


def test_a_weight_that_is_too_large_is_told(small):
    graph, _ = small
    large = numpy_helper.from_array(np.full((4, 4), 7e4, np.float32), "w")
    graph.graph.initializer[0].CopyFrom(large)
    with pytest.raises(UsageError, match=r"w holds 7e\+04, too large for fp16.*--bf16"):
        lower_graph(graph, "fp16")
    lower_graph(graph, "bf16")


@pytest.mark.parametrize(("precision", "expected"), [("fp16", np.inf), ("bf16", 300.0)])
def test_what_overflows_between_nodes_is_seen(precision, expected):
    """ONNX Runtime alone hides it: on the CPU it computes fp16 graphs in fp32."""
    graph = graph_of([node("Mul", ["x", "x"], "square"), node("Div", ["square", "x"], "y")], {})
    x = np.full((1, 4), 300, np.float32)
    lowered = lower_graph(graph, precision)
    np.testing.assert_allclose(run(round_between_nodes(lowered), x), expected, rtol=4e-3)
    if precision == "fp16":
        np.testing.assert_allclose(run(lowered, x), 300)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_each_result_is_rounded_as_onnx_says(precision):
    """Node by node against ONNX's own evaluator, on operations that both do in one step."""
    from onnx.reference import ReferenceEvaluator

    rng = np.random.default_rng(1)
    nodes = [
        node("Add", ["x", "a"], "sum"),
        node("Mul", ["sum", "b"], "product"),
        node("Transpose", ["product"], "turned", perm=[1, 0]),
        node("Relu", ["turned"], "positive"),
        node("Sub", ["positive", "a"], "y"),
    ]
    graph = graph_of(nodes, {"a": rng.normal(size=4), "b": rng.normal(size=4)})
    x = rng.normal(size=(4, 4)).astype(np.float32)
    lowered = lower_graph(graph, precision)
    expected = ReferenceEvaluator(lowered).run(None, {"x": x})[0]
    np.testing.assert_array_equal(run(round_between_nodes(lowered), x), expected)


def test_the_window_graph_keeps_its_functions_and_an_fp32_head(tiny_bundle):
    window = onnx.load(tiny_bundle.window)
    lowered = lower_graph(window, "fp16", keep=tail_nodes(window))
    assert [str(body) for body in lowered.functions] == [str(body) for body in window.functions]
    last = {node.op_type: node for node in lowered.graph.node[-4:]}
    types = {tensor.name: tensor.data_type for tensor in lowered.graph.initializer}
    assert types[last["Gemm"].input[1]] == TensorProto.FLOAT
    floats = [kind for kind in types.values() if kind == TensorProto.FLOAT]
    assert len(floats) <= 6, "the head's weights and bias, and its norms'"
