import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from istvt.calibration.ranges import quantize_window, to_unsigned_activations

# Instructions that sum products of U8 and S8 in 32 bits. x86 CPUs without any of them add two such
# products in 16 bits first (`vpmaddubsw`), and saturate.
EXACT_FLAGS = {"avx_vnni", "avx512_vnni", "amx_int8"}
INT16 = np.iinfo(np.int16)
ATOL = 1e-4  # of logits up to about 10
# What oneDNN, and so OpenVINO, may be limited to: the flags that it needs, and whether it is exact.
# ONNX Runtime cannot be limited: it multiplies as this CPU does.
LIMITS = {
    "AVX2": ({"avx2"}, False),
    "AVX512_CORE": ({"avx512f", "avx512bw", "avx512vl", "avx512dq"}, False),
    "AVX2_VNNI": ({"avx2", "avx_vnni"}, True),
    "AVX512_CORE_VNNI": ({"avx512_vnni"}, True),
}
OPENVINO = """
import sys
import numpy as np
from openvino import Core
core = Core()
model = core.read_model(sys.argv[1])
features = np.load(sys.argv[2])
model.reshape(features.shape)
compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
np.save(sys.argv[3], compiled(features)[0])
"""


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


@pytest.fixture
def unsigned(case):
    """The S8 graph, the U8 graph that is made of it, and features at both ends of their range."""
    folder, windows = case
    signed = onnx.load(folder / "int8.onnx")
    unsigned = onnx.load(folder / "int8.onnx")
    to_unsigned_activations(unsigned)
    widest = max(windows, key=lambda window: np.abs(window).max())
    return signed, unsigned, np.concatenate([widest, -widest])


def evaluate(graph, features):
    """Follow ONNX's definition, whatever this CPU can do."""
    return ReferenceEvaluator(graph).run(None, {"features": features})[0]


def multiply(graph, features, *, pair_limits=None):
    """Multiply integers as x86 does, two by two along the columns of the features.

    Args:
        pair_limits: what the sum of two products is clipped to; None keeps it exact.
    """
    (quantize,) = [node for node in graph.graph.node if node.op_type == "QuantizeLinear"]
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
    scale, zero = values[quantize.input[1]], values[quantize.input[2]]
    (weight,) = [node.input for node in graph.graph.node if node.input[0] in values]
    weights, limits = values[weight[0]].astype(int), np.iinfo(zero.dtype)
    activations = np.rint(features / scale).astype(int) + zero
    activations = np.clip(activations, limits.min, limits.max)
    products = activations[..., None] * weights  # (..., 8, 5)
    pairs = products[..., ::2, :] + products[..., 1::2, :]
    if pair_limits is not None:
        pairs = np.clip(pairs, pair_limits.min, pair_limits.max)
    product = (pairs.sum(axis=-2) - int(zero) * weights.sum(axis=0)) * scale * values[weight[1]]
    return product**2


def cpu_flags():
    """What /proc/cpuinfo lists of an x86 CPU; None where it cannot be known."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    listed = [line.partition(":")[2].split() for line in lines if line.startswith("flags")]
    return set(listed[0]) if listed else None


def check_is_what_this_cpu_gives(found, graph, features, *, is_exact):
    """Accept either result, and nothing else, where the CPU's instructions are not known."""
    exact = multiply(graph, features)
    saturated = multiply(graph, features, pair_limits=INT16)
    expected = {True: [exact], False: [saturated], None: [exact, saturated]}[is_exact]
    assert any(np.allclose(found, each, atol=ATOL) for each in expected), (
        f"off the exact result by {np.abs(found - exact).max():.2g}, off the saturated one by "
        f"{np.abs(found - saturated).max():.2g}; exact expected: {is_exact}"
    )


def multiplies_exactly():
    """Say whether this CPU sums U8 times S8 in 32 bits; None where it cannot be known."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    flags = cpu_flags()
    return None if flags is None else bool(flags & EXACT_FLAGS)


def test_unsigned_activations_describe_the_same_values(unsigned):
    signed, unsigned, features = unsigned
    kinds = {tensor.data_type for tensor in unsigned.graph.initializer if not tensor.dims}
    assert TensorProto.UINT8 in kinds
    np.testing.assert_array_equal(evaluate(unsigned, features), evaluate(signed, features))
    np.testing.assert_allclose(multiply(unsigned, features), evaluate(signed, features), atol=ATOL)
    np.testing.assert_allclose(run(signed, features), evaluate(signed, features), atol=ATOL)


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="known fault: 8-bit weights saturate with unsigned activations on x86 without VNNI",
)
def test_no_pair_of_products_leaves_16_bits(unsigned):
    _, unsigned, features = unsigned
    saturated = multiply(unsigned, features, pair_limits=INT16)
    np.testing.assert_allclose(saturated, multiply(unsigned, features), atol=1000 * ATOL)


def test_onnxruntime_saturates_where_the_cpu_does_and_nowhere_else(unsigned):
    _, unsigned, features = unsigned
    check_is_what_this_cpu_gives(
        run(unsigned, features), unsigned, features, is_exact=multiplies_exactly()
    )


@pytest.mark.parametrize("limit", [None, *LIMITS])
def test_openvino_saturates_where_the_cpu_does_and_nowhere_else(unsigned, tmp_path, limit):
    pytest.importorskip("openvino")
    _, unsigned, features = unsigned
    needed, is_exact = LIMITS.get(limit, (set(), multiplies_exactly()))
    if not needed <= (cpu_flags() or set()):
        pytest.skip(f"this CPU cannot be limited to {limit}")
    onnx.save(unsigned, tmp_path / "unsigned.onnx")
    np.save(tmp_path / "features.npy", features)
    files = [tmp_path / name for name in ("unsigned.onnx", "features.npy", "found.npy")]
    others = {name: value for name, value in os.environ.items() if "MAX_CPU_ISA" not in name}
    limited = {} if limit is None else {"ONEDNN_MAX_CPU_ISA": limit}
    subprocess.run([sys.executable, "-c", OPENVINO, *files], env=others | limited, check=True)
    check_is_what_this_cpu_gives(np.load(files[2]), unsigned, features, is_exact=is_exact)
