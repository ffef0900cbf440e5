import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from istvt.calibration.ranges import quantize_window, to_unsigned_activations


def save_product(path, weight):
    """features (1, 2, 3, 8) @ weight (8, 5), then a constant added, as in the window graph."""
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["features", "weight"], ["product"], name="product"),
            helper.make_node("Mul", ["product", "product"], ["logits"], name="square"),
        ],
        "product",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["m", 2, 3, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["m", 2, 3, 5])],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    onnx.save(model, path)


def run(model, features):
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    content = model if isinstance(model, str) else model.SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"features": features})[0]


@pytest.fixture
def case(tmp_path):
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(8, 5)).astype(np.float32)
    windows = [rng.normal(size=(1, 2, 3, 8)).astype(np.float32) for _ in range(4)]
    save_product(tmp_path / "fp32.onnx", weight)
    quantize_window(tmp_path / "fp32.onnx", tmp_path / "int8.onnx", windows)
    return tmp_path, windows


def test_the_int8_graph_says_nearly_the_same(case):
    folder, windows = case
    expected = run(str(folder / "fp32.onnx"), windows[0])
    found = run(str(folder / "int8.onnx"), windows[0])
    assert 0 < np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def test_the_range_is_the_largest_magnitude_of_all_windows(case):
    folder, windows = case
    graph = onnx.load(folder / "int8.onnx").graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    (node,) = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    largest = max(np.abs(window).max() for window in windows)
    assert values[node.input[1]] * 127 == pytest.approx(largest, rel=0.01)
    assert values[node.input[2]].dtype == np.int8
    assert values[node.input[2]] == 0


def test_only_the_product_is_quantised_and_its_weights_by_channel(case):
    folder, _ = case
    graph = onnx.load(folder / "int8.onnx").graph
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("QuantizeLinear") == 1
    assert kinds.count("DequantizeLinear") == 2
    scales = [tensor for tensor in graph.initializer if tensor.dims == [5]]
    assert scales, "one scale a column of the weights"


def test_unsigned_activations_are_the_same_values(case):
    folder, windows = case
    graph = onnx.load(folder / "int8.onnx")
    signed = run(graph, windows[1])
    to_unsigned_activations(graph)
    kinds = {tensor.data_type for tensor in graph.graph.initializer if not tensor.dims}
    assert TensorProto.UINT8 in kinds
    np.testing.assert_allclose(run(graph, windows[1]), signed, atol=1e-5)
