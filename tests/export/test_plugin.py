"""The plugin against the plugin sources of classic TensorRT; its library is not needed."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest

from istvt.errors import EngineError, UsageError
from istvt.export import plugin
from istvt.export.engine_record import engine_path, read_record
from istvt.export.functions import DOMAIN, SELF_SUBTRACT_ATTENTION
from istvt.presets import TINY

CHILD = Path(__file__).with_name("plugin_child.py")
NEEDED = ("tensorrt_rtx", "tensorrt_bindings", "triton")
MISSING = [name for name in NEEDED if find_spec(name) is None]
needs_sources = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


def call_plugin(type_name, capability, *sizes):
    """Register and call the plugin in a process of its own."""
    done = subprocess.run(
        [sys.executable, CHILD, type_name, str(capability), *map(str, sizes)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


@needs_sources
@pytest.mark.parametrize(
    ("type_name", "capability", "sizes"),
    [("HALF", 89, (2, 7, 362, 3, 8, 64)), ("BF16", 120, (3, 5, 10, 3, 2, 32))],
)
def test_it_registers_and_answers_as_tensorrt_asks(type_name, capability, sizes):
    answer = call_plugin(type_name, capability, *sizes)
    batch, rows, columns, _, heads, head_dim = sizes
    assert answer["creators"] == [[SELF_SUBTRACT_ATTENTION, "1", DOMAIN]]
    assert answer["shape"] == [batch, rows, columns, heads * head_dim]
    assert answer["type"] == type_name
    assert answer["types"] == [[kind, kind] for kind in ("HALF", "BF16", "FLOAT")]
    assert answer["entry"]
    assert answer["target"].startswith(f".target sm_{capability}")
    assert answer["parameters"] == 3, "input, int32, output, and no scratch pointers"
    assert answer["scalars"] == [columns]
    assert answer["scalar_kinds"] == [True]
    kernel = plugin.kernel_for([rows, heads, head_dim], type_name, compute_capability=capability)
    assert answer["grid"] == list(kernel.grid(batch, columns))
    assert answer["block"] == kernel.num_threads


def test_nodes_ask_for_the_plugin_and_lose_their_body(tiny_bundle):
    graph = onnx.load(tiny_bundle.window, load_external_data=False)
    changed = plugin.with_plugin_nodes(graph)
    assert graph.functions
    assert not changed.functions
    (node,) = [node for node in changed.graph.node if node.domain == DOMAIN]
    values = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
    assert values == {"plugin_namespace": DOMAIN.encode(), "plugin_version": b"1", "aot": 1}
    assert len(changed.graph.node) == len(graph.graph.node)


def test_tensorrt_rtx_is_never_given_a_plugin():
    with pytest.raises(EngineError, match="takes no plugins"):
        plugin.register_plugin(SimpleNamespace(__name__="tensorrt_rtx"), compute_capability=89)


def test_a_type_or_gpu_without_a_kernel_is_told():
    with pytest.raises(EngineError, match="no kernel takes INT8"):
        plugin.kernel_for([7, 8, 64], "INT8", compute_capability=89)
    with pytest.raises(UsageError, match="compute capability is 70"):
        plugin.kernel_for([7, 8, 64], "HALF", compute_capability=70)
    with pytest.raises(EngineError, match="no kernel for compute capability 100, only for 80"):
        plugin.register_plugin(SimpleNamespace(__name__="tensorrt"), compute_capability=100)


def test_auto_keeps_the_faster_and_says_which(tiny_bundle, tmp_path, monkeypatch):
    """TensorRT and the GPU are stand-ins; what is tested is the choice."""
    from istvt.export import engines
    from istvt.export.engine import BuiltEngine, EngineOptions
    from tests.runtime.backends.fake_device import FakeDevice, FakeTensorRT

    times_ms = {b"with": 1.0, b"without": 2.0}

    def build(graph, options, *, plugin_capability, **named):
        content = b"without" if plugin_capability is None else b"with"
        return BuiltEngine(content, 10, {}, {}, 0.5)

    monkeypatch.setattr(engines, "build_engine", build)
    monkeypatch.setattr(engines, "open_device", FakeDevice)
    monkeypatch.setattr(engines, "load_tensorrt", lambda flavour: FakeTensorRT(FakeDevice()))
    monkeypatch.setattr(
        engines, "time_pass_ms", lambda trt, record, content, gpu, preset: times_ms[content]
    )
    bundle = _over(tiny_bundle, tmp_path)
    encoder, window = engines.build_engines(bundle, EngineOptions("tensorrt"))
    assert (encoder.plugin, window.plugin) == (False, True)
    assert window.window_ms == {"plugin": 1.0, "no plugin": 2.0}
    assert window.compute_capabilities == (89,)
    times_ms[b"with"] = 3.0
    assert not engines.build_engines(bundle, EngineOptions("tensorrt"))[1].plugin
    assert engines.build_engines(bundle, EngineOptions("tensorrt", plugin="on"))[1].plugin
    with pytest.raises(EngineError, match="takes no plugins"):
        engines.build_engines(bundle, EngineOptions("rtx", plugin="on"))


@pytest.mark.parametrize("fails_at", ["build", "run"])
def test_auto_goes_without_a_plugin_that_cannot_be_had(
    tiny_bundle, tmp_path, monkeypatch, caplog, fails_at
):
    from istvt.export import engines
    from istvt.export.engine import BuiltEngine, EngineOptions
    from tests.runtime.backends.fake_device import FakeDevice, FakeTensorRT

    def build(graph, options, *, plugin_capability, **named):
        if plugin_capability is not None and fails_at == "build":
            raise EngineError("it is too old for plugins")
        return BuiltEngine(b"without" if plugin_capability is None else b"with", 10, {}, {}, 0.5)

    def run(trt, record, content, gpu, preset):
        if content == b"with":
            raise EngineError("it is too old for plugins")
        return 1.0

    monkeypatch.setattr(engines, "build_engine", build)
    monkeypatch.setattr(engines, "open_device", FakeDevice)
    monkeypatch.setattr(engines, "load_tensorrt", lambda flavour: FakeTensorRT(FakeDevice()))
    monkeypatch.setattr(engines, "time_pass_ms", run)
    bundle = _over(tiny_bundle, tmp_path)
    window = engines.build_engines(bundle, EngineOptions("tensorrt"))[1]
    assert (window.plugin, window.window_ms) == (False, {})
    assert "without the plugin: it is too old" in caplog.text
    if fails_at == "build":
        with pytest.raises(EngineError, match="too old"):
            engines.build_engines(bundle, EngineOptions("tensorrt", plugin="on"))


@pytest.mark.parametrize(("flavour", "num_graphs"), [("tensorrt", 1), ("rtx", 0)])
def test_a_pass_is_timed_as_a_scorer_runs_it(
    tiny_bundle, tmp_path, monkeypatch, flavour, num_graphs
):
    """TensorRT-RTX makes its graphs itself."""
    from istvt.runtime.backends import engine_timing
    from tests.runtime.backends.gpu import pretend_gpu, with_engines

    gpu = pretend_gpu(monkeypatch)
    bundle = with_engines(tiny_bundle, tmp_path / "m.istvt", flavour)
    path = engine_path(bundle.folder, "window", flavour)
    record, content = read_record(path), path.read_bytes()
    assert 0 < engine_timing.time_pass_ms(gpu.tensorrt, record, content, gpu.device, TINY) < 1e3
    assert not gpu.device.buffers
    assert len(gpu.graphs.made) == num_graphs
    passes = engine_timing.WARM_UP_PASSES + engine_timing.TIMED_PASSES
    assert [graph.launches for graph in gpu.graphs.made] == [passes] * num_graphs


def _over(bundle, folder):
    from dataclasses import replace

    (folder / "engines").mkdir()
    return replace(bundle, folder=folder)
