"""The plugins against the plugin sources of classic TensorRT; its library is not needed."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest

from istvt.bundle.engines import engine_path, read_record
from istvt.errors import DeviceLostError, EngineError, UsageError
from istvt.export.engines import plugin
from istvt.kernels.compile import PLAIN_SHARED_BYTES
from istvt.kernels.functions import (
    DOMAIN,
    SELF_SUBTRACT_ATTENTION,
    SPATIAL_ATTENTION,
    append_bodies,
)
from istvt.presets import TINY

CHILD = Path(__file__).with_name("plugin_child.py")
NEEDED = ("tensorrt_rtx", "tensorrt_bindings", "triton")
MISSING = [name for name in NEEDED if find_spec(name) is None]
needs_sources = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


def call_plugin(attention, type_name, capability, *sizes):
    """Register both plugins and call one in a process of its own."""
    done = subprocess.run(
        [sys.executable, CHILD, attention, type_name, str(capability), *map(str, sizes)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


@needs_sources
@pytest.mark.parametrize("attention", ["temporal", "spatial"])
@pytest.mark.parametrize(
    ("type_name", "capability", "sizes"),
    [("HALF", 89, (2, 7, 362, 3, 8, 64)), ("BF16", 120, (3, 5, 10, 3, 2, 32))],
)
def test_it_registers_and_answers_as_tensorrt_asks(attention, type_name, capability, sizes):
    answer = call_plugin(attention, type_name, capability, *sizes)
    batch, rows, columns, _, heads, head_dim = sizes
    nodes = (SELF_SUBTRACT_ATTENTION, SPATIAL_ATTENTION)
    assert answer["creators"] == [[node, "1", DOMAIN] for node in nodes]
    assert answer["shape"] == [batch, rows, columns, heads * head_dim]
    assert answer["type"] == type_name
    assert answer["types"] == [[kind, kind] for kind in ("HALF", "BF16", "FLOAT")]
    assert answer["entry"]
    assert answer["target"].startswith(f".target sm_{capability}")
    assert answer["parameters"] == ["u64", "u32", "u64"], (
        "input, int32, output, no scratch pointers"
    )
    assert answer["scalars"] == [columns]
    assert answer["scalar_kinds"] == [True]
    kernel = plugin.kernel_for(
        attention,
        [rows, heads, head_dim],
        type_name=type_name,
        compute_capability=capability,
    )
    assert kernel.arguments == ("qkv", "num_columns", "mixed")
    assert answer["grid"] == list(kernel.grid(batch, columns))
    assert answer["block"] == [kernel.num_threads, 1, 1]
    assert answer["shared"] == kernel.shared_bytes
    assert (kernel.shared_bytes > 0) == (attention == "spatial")


@pytest.mark.parametrize(
    ("attentions", "nodes"),
    [
        (("temporal",), [SELF_SUBTRACT_ATTENTION]),
        (("spatial",), [SPATIAL_ATTENTION]),
        (("temporal", "spatial"), [SELF_SUBTRACT_ATTENTION, SPATIAL_ATTENTION]),
    ],
)
def test_nodes_ask_for_their_plugin_and_lose_their_body(tiny_bundle, attentions, nodes):
    graph = onnx.load(tiny_bundle.window, load_external_data=False)
    before = graph.SerializeToString(deterministic=True)
    changed = plugin.with_plugin_nodes(graph, attentions)
    assert graph.SerializeToString(deterministic=True) == before
    assert not changed.functions
    ours = [node for node in changed.graph.node if node.domain == DOMAIN]
    assert [node.op_type for node in ours] == nodes
    for node in ours:
        values = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        assert values == {"plugin_namespace": DOMAIN.encode(), "plugin_version": b"1", "aot": 1}


@pytest.mark.parametrize("attention", ["temporal", "spatial"])
def test_the_graph_around_a_plugin_stays_what_it_was(tiny_bundle, attention):
    """With its body put back, it gives the same logits; ONNX Runtime knows no plugins."""
    graph = onnx.load(tiny_bundle.window)
    changed = plugin.with_plugin_nodes(graph, [attention])
    append_bodies(changed)
    for node in changed.graph.node:
        if node.domain == DOMAIN:
            del node.attribute[:]
    shape = (2, TINY.num_frames, TINY.num_patches, TINY.embed_dim)
    features = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    found, expected = (
        onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        ).run(None, {"features": features})[0]
        for model in (changed, graph)
    )
    np.testing.assert_array_equal(found, expected)


@needs_sources
@pytest.mark.parametrize("capability", [80, 90])
def test_the_largest_kernel_fits_the_shared_memory_of_an_engine(monkeypatch, capability):
    def widest():
        return plugin.kernel_for(
            "spatial", [17, 8, 128], type_name="HALF", compute_capability=capability
        )

    assert 0 < widest().shared_bytes <= PLAIN_SHARED_BYTES
    monkeypatch.setattr(plugin, "PLAIN_SHARED_BYTES", 1 << 10)
    with pytest.raises(EngineError, match=r"spatial kernel needs \d+ bytes .* provides 1024"):
        widest()


def test_tensorrt_rtx_is_never_given_a_plugin():
    with pytest.raises(EngineError, match="takes no plugins"):
        plugin.register_plugins(SimpleNamespace(__name__="tensorrt_rtx"), compute_capability=89)


def test_a_type_or_gpu_without_a_kernel_is_told():
    with pytest.raises(EngineError, match="no kernel takes INT8"):
        plugin.kernel_for("spatial", [7, 8, 64], type_name="INT8", compute_capability=89)
    with pytest.raises(UsageError, match="compute capability is 70"):
        plugin.kernel_for("spatial", [7, 8, 64], type_name="HALF", compute_capability=70)
    with pytest.raises(EngineError, match="no kernel for compute capability 100, only for 80"):
        plugin.register_plugins(SimpleNamespace(__name__="tensorrt"), compute_capability=100)


def test_a_plugin_that_was_registered_by_half_is_told(monkeypatch):
    """TensorRT registers none of a name twice, and asks this one for what it lacks."""
    half = SimpleNamespace(aot_impl_func=None)
    registry = {plugin.plugin_id("temporal"): half}
    modules = {
        "tensorrt.plugin": SimpleNamespace(__name__="tensorrt.plugin", aot_impl=None),
        "tensorrt.plugin._lib": SimpleNamespace(QDP_REGISTRY=registry),
    }
    monkeypatch.setattr(plugin, "import_module", modules.__getitem__)
    monkeypatch.setattr(plugin, "require", lambda module, extra: None)
    monkeypatch.setattr(plugin, "_registered", set())
    defined = []
    monkeypatch.setattr(plugin, "_define", lambda plugins, name, capability: defined.append(name))
    with pytest.raises(
        EngineError, match=r"only partly registered in this process.*another process"
    ):
        plugin.register_plugins(SimpleNamespace(__name__="tensorrt"), compute_capability=89)
    half.aot_impl_func = print
    plugin.register_plugins(SimpleNamespace(__name__="tensorrt"), compute_capability=89)
    assert defined == ["spatial"]


class Behaviour(dict):
    def __init__(self, values):
        super().__init__(values)
        self.wrong = {}


@pytest.fixture
def tensorrt(monkeypatch):
    """Stand-ins for TensorRT and the GPU; what is tested is the choice.

    Values by the engine's content, which names the attentions that are plugins: the time of a
    window in ms, or the step that fails. `wrong` is what is added to its logits.
    """
    from istvt.export.engines import build as engines
    from istvt.export.engines.builder import BuiltEngine
    from tests.runtime.backends.cuda.fake_device import FakeDevice, FakeTensorRT

    behaviour = Behaviour({b"": 3.0, b"temporal": 2.0, b"temporal+spatial": 1.0})

    def build(graph, options, *, plugins, **named):
        content = b"" if plugins is None else "+".join(plugins.attentions).encode()
        assert plugins is None or plugins.compute_capability == 89
        if behaviour[content] == "build":
            raise EngineError("it is too old for plugins")
        return BuiltEngine(content, 10, {}, {}, 0.5)

    def score(trt, record, content, gpu, preset):
        if behaviour[content] == "score":
            raise EngineError("it is too old for plugins")
        return np.float32([0.5, -0.5, 1]) + np.float32(behaviour.wrong.get(content, 0))

    def time_ms(trt, record, content, gpu, preset):
        if behaviour[content] == "run":
            raise EngineError("it is too old for plugins")
        if behaviour[content] == "lose":
            raise DeviceLostError("an illegal memory access was encountered")
        return behaviour[content]

    monkeypatch.setattr(engines, "build_engine", build)
    monkeypatch.setattr(engines, "open_device", FakeDevice)
    monkeypatch.setattr(engines, "load_tensorrt", lambda flavour: FakeTensorRT(FakeDevice()))
    monkeypatch.setattr(engines, "score_noise", score)
    monkeypatch.setattr(engines, "time_pass_ms", time_ms)
    return behaviour


def build(bundle, flavour="tensorrt", **options):
    from istvt.export.engines.build import build_engines
    from istvt.export.engines.builder import EngineOptions

    encoder, window = build_engines(bundle, EngineOptions(flavour, **options))
    path = engine_path(bundle.folder, "window", flavour)
    assert path.read_bytes() == "+".join(window.plugins).encode(), "the kept engine is the written"
    assert read_record(path) == window
    assert encoder.plugins == ()
    return window


@pytest.mark.parametrize(
    ("times_ms", "kept"),
    [
        ((3.0, 2.0, 1.0), "both plugins"),
        ((3.0, 1.0, 2.0), "temporal plugin"),
        ((1.0, 3.0, 2.0), "no plugin"),
    ],
)
def test_auto_keeps_the_fastest_and_says_which(tiny_bundle, tmp_path, tensorrt, times_ms, kept):
    tensorrt.update(zip(tensorrt, times_ms, strict=True))
    window = build(_over(tiny_bundle, tmp_path))
    assert window.way == kept
    ways = ("no plugin", "temporal plugin", "both plugins")
    assert window.window_ms == dict(zip(ways, times_ms, strict=True))
    assert window.compute_capabilities == (89,)


def test_on_is_both_and_off_is_none(tiny_bundle, tmp_path, tensorrt):
    bundle = _over(tiny_bundle, tmp_path)
    tensorrt.update({b"": 1.0, b"temporal": 1.0, b"temporal+spatial": 9.0})
    assert build(bundle, plugin="on").plugins == ("temporal", "spatial")
    assert build(bundle, plugin="off").plugins == ()
    with pytest.raises(EngineError, match="takes no plugins"):
        build(bundle, flavour="rtx", plugin="on")


@pytest.mark.parametrize(
    ("precision", "wrong", "is_taken"),
    [
        *(("fp32", 5e-5, True), ("fp32", 2e-4, False), ("fp16", 0.05, True), ("fp16", 0.2, False)),
        *(("fp16", np.nan, False), ("bf16", 0.2, True), ("int8", -1.1, False)),
    ],
)
def test_auto_takes_no_plugin_that_changes_a_logit(
    tiny_bundle, tmp_path, tensorrt, caplog, precision, wrong, is_taken
):
    tensorrt[b"temporal+spatial"] = 9.0
    tensorrt.wrong[b"temporal"] = wrong
    window = build(replace(_over(tiny_bundle, tmp_path), precision=precision))
    assert window.way == ("temporal plugin" if is_taken else "no plugin")
    assert ("temporal plugin" in window.window_ms) == is_taken
    assert window.window_ms["both plugins"] == 9.0, "the next is tried all the same"
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(told) == (not is_taken)
    assert is_taken or "is built without temporal plugin, which changes a logit by" in told[0]


@pytest.mark.parametrize("fails_at", ["build", "score", "run"])
@pytest.mark.parametrize(
    ("failing", "kept"), [(b"temporal", "no plugin"), (b"temporal+spatial", "temporal plugin")]
)
def test_auto_goes_without_a_plugin_that_cannot_be_had(
    tiny_bundle, tmp_path, tensorrt, caplog, failing, kept, fails_at
):
    tensorrt[failing] = fails_at
    bundle = _over(tiny_bundle, tmp_path)
    window = build(bundle)
    assert window.way == kept
    assert list(window.window_ms)[-1] == kept
    assert f"engine has {kept}, others cannot be built: it is too old" in caplog.text


def test_a_gpu_that_is_lost_under_a_plugin_ends_the_build(tiny_bundle, tmp_path, tensorrt):
    tensorrt[b"temporal"] = "lose"
    with pytest.raises(DeviceLostError, match="illegal memory access"):
        build(_over(tiny_bundle, tmp_path))


def test_on_does_not_go_without(tiny_bundle, tmp_path, tensorrt):
    tensorrt[b"temporal+spatial"] = "build"
    with pytest.raises(EngineError, match="too old"):
        build(_over(tiny_bundle, tmp_path), plugin="on")


def test_noise_is_scored_by_the_engine(tiny_bundle, tmp_path, monkeypatch):
    from istvt.runtime.backends.cuda import timing as engine_timing
    from tests.runtime.backends.gpu import pretend_gpu, with_engines

    gpu = pretend_gpu(monkeypatch)
    bundle = with_engines(tiny_bundle, tmp_path / "m.istvt", "tensorrt")
    path = engine_path(bundle.folder, "window", "tensorrt")
    trt, record, content = gpu.tensorrt, read_record(path), path.read_bytes()
    found = engine_timing.score_noise(trt, record, content, gpu.device, TINY.spec)
    shape = (3, TINY.num_frames, TINY.num_patches, TINY.embed_dim)
    noise = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    session = onnxruntime.InferenceSession(bundle.window, providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(found, session.run(None, {"features": noise})[0], atol=1e-5)
    assert np.ptp(found) > 1e-3, "windows that differ tell a plugin that mixes them up"
    assert not gpu.device.buffers


@pytest.mark.parametrize(("flavour", "num_graphs"), [("tensorrt", 1), ("rtx", 0)])
def test_a_pass_is_timed_as_a_scorer_runs_it(
    tiny_bundle, tmp_path, monkeypatch, flavour, num_graphs
):
    """TensorRT-RTX makes its graphs itself."""
    from istvt.runtime.backends.cuda import timing as engine_timing
    from tests.runtime.backends.gpu import pretend_gpu, with_engines

    gpu = pretend_gpu(monkeypatch)
    bundle = with_engines(tiny_bundle, tmp_path / "m.istvt", flavour)
    path = engine_path(bundle.folder, "window", flavour)
    record, content = read_record(path), path.read_bytes()
    assert (
        0 < engine_timing.time_pass_ms(gpu.tensorrt, record, content, gpu.device, TINY.spec) < 1e3
    )
    assert not gpu.device.buffers
    assert len(gpu.graphs.made) == num_graphs
    passes = engine_timing.WARM_UP_PASSES + engine_timing.TIMED_PASSES
    assert [graph.launches for graph in gpu.graphs.made] == [passes] * num_graphs


def _over(bundle, folder):
    (folder / "engines").mkdir()
    return replace(bundle, folder=folder)
