from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from istvt.export.graph import export_window
from istvt.kernels.functions import (
    DOMAIN,
    SELF_SUBTRACT_ATTENTION,
    SPATIAL_ATTENTION,
    STANDARD_OPSET,
    append_bodies,
    inline_bodies,
)
from istvt.models.istvt.attention import attend_over_space, attend_over_time
from istvt.presets import TINY
from tests.random_models import random_model


def run(graph: onnx.ModelProto, **inputs: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, inputs)[0]


BODIES = [
    pytest.param(SELF_SUBTRACT_ATTENTION, attend_over_time, id="temporal"),
    pytest.param(SPATIAL_ATTENTION, attend_over_space, id="spatial"),
]


def function_as_model(name: str, elem_type: int) -> onnx.ModelProto:
    """The function alone, called by one node."""
    node = onnx.helper.make_node(name, ["qkv"], ["mixed"], domain=DOMAIN)
    graph = onnx.helper.make_graph(
        [node],
        "one_node",
        [onnx.helper.make_tensor_value_info("qkv", elem_type, ["b", "t", "n", 3, "h", "d"])],
        [onnx.helper.make_tensor_value_info("mixed", elem_type, ["b", "t", "n", "c"])],
    )
    opsets = [onnx.helper.make_opsetid("", STANDARD_OPSET), onnx.helper.make_opsetid(DOMAIN, 1)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)
    append_bodies(model)
    return model


@pytest.mark.parametrize(("name", "attend"), BODIES)
@pytest.mark.parametrize("shape", [(1, 3, 1, 3, 1, 1), (2, 7, 5, 3, 3, 8), (1, 17, 2, 3, 2, 4)])
def test_a_function_body_is_the_attention(name, attend, shape):
    qkv = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    expected = attend(torch.from_numpy(qkv)).numpy()
    found = run(function_as_model(name, onnx.TensorProto.FLOAT), qkv=qkv)
    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize(("name", "attend"), BODIES)
def test_a_function_body_serves_half_precision_too(name, attend):
    qkv = np.random.default_rng(0).normal(size=(1, 7, 4, 3, 2, 8)).astype(np.float16)
    found = run(function_as_model(name, onnx.TensorProto.FLOAT16), qkv=qkv)
    expected = attend(torch.from_numpy(qkv.astype(np.float32))).numpy()
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, expected, atol=5e-3)


def test_folding_keeps_the_encoder_within_rounding():
    model = random_model(TINY)
    faces = torch.randint(0, 256, (3, TINY.image_size, TINY.image_size, 3), dtype=torch.uint8)
    with torch.no_grad():
        folded = model.folded_encoder()(faces)
        plain = model.encode(faces)
    assert plain.abs().max() > 0.1
    torch.testing.assert_close(folded, plain, atol=2e-5, rtol=0)
    assert not any(
        isinstance(layer, torch.nn.BatchNorm2d) for layer in model.folded_encoder().modules()
    )
    assert isinstance(model.encoder.bn1, torch.nn.BatchNorm2d), "the trained model was changed"


def test_window_graph_holds_a_node_of_ours_for_each_attention_of_a_full_block(tiny_bundle):
    graph = onnx.load(tiny_bundle.window, load_external_data=False)
    kinds = Counter((node.domain, node.op_type) for node in graph.graph.node)
    names = [SELF_SUBTRACT_ATTENTION, SPATIAL_ATTENTION]
    assert [kinds[DOMAIN, name] for name in names] == 2 * [TINY.depth - 1]  # the last is cut short
    assert kinds["", "Attention"] == 1, "the last block's"
    assert [function.name for function in graph.functions] == names
    assert {entry.domain: entry.version for entry in graph.opset_import} == {
        "": STANDARD_OPSET,
        DOMAIN: 1,
    }


def test_inlined_graph_has_standard_nodes_only_and_shares_the_weights(tiny_bundle):
    inlined = onnx.load(tiny_bundle.inlined_window, load_external_data=False)
    assert not inlined.functions
    assert {node.domain for node in inlined.graph.node} == {""}
    places = {
        entry.value
        for tensor in inlined.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    assert places == {"window.onnx.data"}


def test_our_nodes_can_lose_their_body_for_a_plugin(tiny_bundle):
    graph = onnx.load(tiny_bundle.window, load_external_data=False)
    assert any(node.domain == DOMAIN for node in graph.graph.node)
    assert all(node.domain != DOMAIN for node in inline_bodies(graph).graph.node)


@pytest.mark.parametrize(("num_frames", "depth"), [(2, 1), (3, 2)])
def test_other_lengths_and_depths_export(tmp_path, num_frames, depth):
    preset = replace(
        TINY,
        image_size=48,
        num_frames=num_frames,
        depth=depth,
        embed_dim=24,
        num_heads=2,
        head_dim=8,
    )
    model = random_model(preset)
    path, inlined = tmp_path / "window.onnx", tmp_path / "inlined.onnx"
    export_window(model, path, inlined=inlined)
    features = torch.randn(5, num_frames, preset.num_patches, preset.embed_dim)
    with torch.no_grad():
        expected = model.score(features).numpy()
    for graph in (path, inlined):
        session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        found = session.run(None, {"features": features.numpy()})[0]
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_graph_inputs_are_raw_pixels_with_a_free_batch(tiny_bundle):
    session = onnxruntime.InferenceSession(tiny_bundle.encoder, providers=["CPUExecutionProvider"])
    (faces,), (features,) = session.get_inputs(), session.get_outputs()
    assert faces.type == "tensor(uint8)"
    assert faces.shape == ["n", TINY.image_size, TINY.image_size, 3]
    assert features.shape == ["n", TINY.num_patches, TINY.embed_dim]


def test_graphs_name_no_file_of_the_machine_that_exported_them(tiny_bundle):
    for path in tiny_bundle.folder.glob("*.onnx"):
        content = path.read_bytes()
        assert b'.py", line' not in content, path.name
        assert str(Path.cwd()).encode() not in content
