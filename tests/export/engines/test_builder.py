"""TensorRT-RTX builds engines without a GPU; whether they run is for `make gpu-check`."""

import os
import shutil
import signal
import threading
from functools import partial
from importlib.util import find_spec
from types import SimpleNamespace

import onnx
import pytest

from istvt.bundle import flavour
from istvt.bundle.engines import engine_path, read_record
from istvt.bundle.manifest import open_bundle
from istvt.errors import BackendError, EngineError
from istvt.export import build
from istvt.export.build import export_run
from istvt.export.engines import build as engines
from istvt.export.engines import parity as engine_parity
from istvt.export.engines.build import build_engines
from istvt.export.engines.builder import (
    EngineOptions,
    _creation_flags,
    _decompose_attention,
    build_engine,
)
from istvt.models.load import save_run
from istvt.presets import PAPER, TINY
from tests.random_models import config_of, random_model
from tests.runtime.backends.cuda.fake_device import FakeDevice

pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed (extra rtx)")

RTX = EngineOptions("rtx")


@pytest.fixture(scope="module", params=["fp32", "fp16", "bf16", "int8"])
def exported(request, tiny_run, tmp_path_factory):
    out = tmp_path_factory.mktemp(request.param) / "model.istvt"
    return export_run(tiny_run, out, precision=request.param, engines=RTX)


def test_a_bundle_has_engines_of_its_graphs(exported):
    bundle = open_bundle(exported.bundle.folder)
    for graph, most in (("encoder", 64), ("window", 16)):
        record = read_record(engine_path(bundle.folder, graph, "rtx"))
        content = engine_path(bundle.folder, graph, "rtx").read_bytes()
        assert record.precision == bundle.precision
        assert record.max_batch == most
        assert record.onnx[f"{graph}.onnx"] == bundle.files[f"{graph}.onnx"]
        assert record.num_bytes == len(content)
        assert b"vtrt" in content[:4]
        assert record.num_layers > 10
    assert not [name for name in bundle.files if name.startswith("engines/")]


@pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed")
def test_the_graphs_that_were_built_were_held_against_pytorch(exported):
    assert exported.parity[0].reference == "torch fp32"
    assert all(step.passed for step in exported.parity)
    runtimes = {step.candidate.split()[0] for step in exported.parity}
    assert runtimes == {"onnxruntime", "openvino"}, "one file for these and for the engine"
    if exported.bundle.precision != "fp32":
        assert exported.parity[1].candidate.endswith("rounded")


def test_engines_hold_the_weights_in_their_precision(tiny_run, exported):
    weights = exported.bundle.window.with_name("window.onnx.data").stat().st_size
    record = exported.engines.records[1]
    assert record.num_bytes > weights
    assert record.num_bytes < weights + 6e6


@pytest.mark.parametrize("graph", ["encoder", "window"])
def test_names_and_shapes_are_those_of_the_graph(tiny_bundle, graph):
    built = build_engine(tiny_bundle.folder / f"{graph}.onnx", RTX, max_batch=4)
    rows = (TINY.num_patches, TINY.embed_dim)
    faces = {"faces": ((-1, TINY.image_size, TINY.image_size, 3), "UINT8")}
    features = {"features": ((-1, *rows), "FLOAT")}
    windows = {"features": ((-1, TINY.num_frames, *rows), "FLOAT")}
    expected = (faces, features) if graph == "encoder" else (windows, {"logits": ((-1,), "FLOAT")})
    assert (built.inputs, built.outputs) == expected


def test_targets_are_named_and_progress_is_told(tiny_bundle):
    seen = []
    options = EngineOptions("rtx", compute_capabilities=(86, 120))
    build_engine(
        tiny_bundle.encoder,
        options,
        max_batch=2,
        progress=lambda stage, done, total: seen.append((stage, done, total)),
    )
    assert seen[0][1] == 0
    stage, done, total = seen[-1]
    assert done == total > 0
    assert {name for name, _, _ in seen} == {stage}, "one outermost phase"


def test_a_gpu_that_cannot_be_named_is_an_error(tiny_bundle):
    options = EngineOptions("rtx", compute_capabilities=(86, 87))
    with pytest.raises(EngineError, match=r"builds for 75, 80, 86.*not for 86, 87"):
        build_engine(tiny_bundle.encoder, options, max_batch=2)


def test_what_cannot_be_read_names_the_node(tiny_bundle, tmp_path):
    graph = onnx.load(tiny_bundle.encoder)
    graph.graph.node[3].op_type = "NonMaxSuppression"
    onnx.save(graph, tmp_path / "encoder.onnx")
    name = graph.graph.node[3].name
    with pytest.raises(EngineError, match=rf"cannot read .*encoder\.onnx:\n  node '{name}' \(Non"):
        build_engine(tmp_path / "encoder.onnx", RTX, max_batch=2)


def test_what_cannot_be_built_says_what_to_do(tiny_bundle, monkeypatch):
    """fp32 attention, left undecomposed."""
    monkeypatch.setattr(
        "istvt.export.engines.builder._decompose_attention", lambda *arguments: None
    )
    with pytest.raises(EngineError, match=r"(?s)cannot build .*window\.onnx:\n  .*export in "):
        build_engine(tiny_bundle.window, RTX, max_batch=2)


@pytest.mark.parametrize(("flavour_name", "expected"), [("tensorrt", True), ("rtx", False)])
def test_tensorrt_may_build_attention_of_any_type_of_several_kernels(
    tiny_run, tmp_path, flavour_name, expected
):
    """Networks of TensorRT-RTX, whose classes are those of TensorRT, stand in."""
    import tensorrt_rtx as trt

    bundle = export_run(tiny_run, tmp_path / "m.istvt", precision="fp16").bundle
    log = flavour.make_logger(trt, [])
    builder = trt.Builder(log)
    network = builder.create_network(_creation_flags(trt))
    parser = trt.OnnxParser(network, log)
    assert parser.parse_from_file(str(bundle.window))
    _decompose_attention(trt, network, flavour_name)
    found = []
    for layer in map(network.get_layer, range(network.num_layers)):
        if layer.type == trt.LayerType.ATTENTION_INPUT:
            layer.__class__ = trt.IAttentionInputLayer
            found.append(layer.attention.decomposable)
    assert len(found) >= TINY.depth
    assert set(found) == {expected}


def test_fp32_is_not_rounded_to_tf32(tiny_bundle, monkeypatch):
    class Seen(Exception):
        pass

    def look(trt, config, options):
        raise Seen(config.get_flag(trt.BuilderFlag.TF32))

    monkeypatch.setattr("istvt.export.engines.builder._set_targets", look)
    with pytest.raises(Seen, match="False"):
        build_engine(tiny_bundle.encoder, RTX, max_batch=2)


def test_ctrl_c_stops_a_build_and_raises_after_it(tiny_bundle):
    def press(stage, done, total):
        os.kill(os.getpid(), signal.SIGINT)

    assert threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        build_engine(tiny_bundle.window, RTX, max_batch=2, progress=press)
    assert signal.getsignal(signal.SIGINT) is before


def test_building_again_replaces_engines_and_leaves_the_bundle_whole(tiny_bundle, tmp_path):
    bundle = open_bundle(shutil.copytree(tiny_bundle.folder, tmp_path / "model.istvt"))
    build_engines(bundle, RTX)
    (first, second) = build_engines(bundle, EngineOptions("rtx", (89,), max_window_batch=2))
    assert first.compute_capabilities == second.compute_capabilities == (89,)
    assert (first.max_batch, second.max_batch) == (8, 2)
    assert read_record(engine_path(bundle.folder, "window", "rtx")) == second
    assert open_bundle(bundle.folder).digest == bundle.digest


def test_engines_for_another_gpu_are_kept_and_not_run(tiny_run, tmp_path, monkeypatch):
    for module in (engines, engine_parity):
        monkeypatch.setattr(module, "open_device", lambda: FakeDevice(compute_capability=120))
    out = tmp_path / "model.istvt"
    exported = export_run(tiny_run, out, engines=EngineOptions("rtx", (89,)))
    assert not [step for step in exported.parity if "tensorrt" in step.candidate]
    assert engine_path(out, "window", "rtx").is_file()
    assert "other GPUs than this one, of compute capability 120" in exported.engines.unchecked


def test_what_cannot_be_built_here_is_told_before_the_work(tiny_run, tmp_path):
    told = []
    with pytest.raises(EngineError, match=r"builds for .*, not for 87"):
        export_run(
            tiny_run,
            tmp_path / "m.istvt",
            engines=EngineOptions("rtx", (87,)),
            progress=lambda stage, *_: told.append(stage),
        )
    assert told == []


@pytest.mark.parametrize(
    ("name", "version", "is_too_old"),
    [
        *(("tensorrt", "8.6.2.3", True), ("tensorrt", "10.3.0", True)),
        *(("tensorrt", "10.14.1.48", False), ("tensorrt", "11.4.0.106", False)),
        *(("rtx", "1.4.0.76", True), ("rtx", "1.10.0", False)),
    ],
)
def test_a_library_that_cannot_read_the_graphs_is_told(monkeypatch, name, version, is_too_old):
    for module in flavour.MODULES.values():
        monkeypatch.delitem(flavour.sys.modules, module, raising=False)
    library = SimpleNamespace(__version__=version)
    monkeypatch.setattr(flavour, "require", lambda module, *, extra: library)
    if not is_too_old:
        assert flavour.load_tensorrt(name) is library
        return
    with pytest.raises(EngineError, match=rf"{version} is too old for these graphs: install \d+"):
        flavour.load_tensorrt(name)


@pytest.fixture
def pretend(monkeypatch):
    """Let libraries be installed, and a GPU of some compute capability be there, or none."""

    def set_up(*, installed, gpu):
        def open_gpu():
            if gpu is None:
                raise BackendError("there is no NVIDIA driver here")
            return FakeDevice(compute_capability=gpu)

        monkeypatch.setattr(engines, "find_spec", lambda name: name in installed or None)
        monkeypatch.setattr(engines, "open_device", open_gpu)

    return set_up


BOTH = ("tensorrt", "tensorrt_rtx")


@pytest.mark.parametrize(
    ("installed", "gpu", "targets", "expected", "told"),
    [
        (BOTH, 89, (), "rtx", ""),
        (BOTH, None, (), "rtx", ""),
        (BOTH, 90, (), "tensorrt", "and fake has 90"),
        (BOTH, 90, (86,), "rtx", ""),
        (BOTH, 89, (90,), None, "others are named"),
        (("tensorrt_rtx",), 90, (), None, "and fake has 90: use TensorRT, ONNX Runtime"),
        (("tensorrt",), 90, (), "tensorrt", ""),
        (("tensorrt",), None, (), None, "none is available: there is no NVIDIA driver here"),
        ((), None, (), None, ""),
    ],
)
def test_auto_takes_what_builds_here_and_tells_what_does_not(
    pretend, caplog, installed, gpu, targets, expected, told
):
    pretend(installed=installed, gpu=gpu)
    assert engines.choose_flavour("auto", targets) == expected
    assert told in caplog.text
    assert bool(told) == bool(caplog.text)


def test_the_gpus_of_auto_are_those_of_the_library():
    import tensorrt_rtx

    assert flavour.rtx_capabilities(tensorrt_rtx) == flavour.RTX_CAPABILITIES


def test_an_engine_that_was_asked_for_is_built_or_an_error(pretend, monkeypatch):
    pretend(installed=BOTH, gpu=90)
    with pytest.raises(EngineError, match="and this machine's fake has 90"):
        engines.check_builder(RTX)
    engines.check_builder(EngineOptions("rtx", (86,)))
    pretend(installed=BOTH, gpu=None)
    engines.check_builder(RTX)
    monkeypatch.setattr(engines, "load_tensorrt", lambda flavour: object())
    with pytest.raises(EngineError, match=r"none is available: there is no NVIDIA.*--engine rtx"):
        engines.check_builder(EngineOptions("tensorrt"))


def test_the_two_libraries_are_never_in_one_process(monkeypatch):
    monkeypatch.setitem(flavour.sys.modules, "tensorrt", object())
    with pytest.raises(EngineError, match="tensorrt is loaded in this process"):
        flavour.load_tensorrt("rtx")


def test_measurements_of_an_earlier_export_are_kept(tiny_run, tiny_bundle, tmp_path):
    """TensorRT-RTX leaves them alone; TensorRT starts from them."""
    out = shutil.copytree(tiny_bundle.folder, tmp_path / "model.istvt")
    (out / "engines").mkdir()
    (out / "engines" / "tensorrt.timing-cache").write_bytes(b"measured")
    export_run(tiny_run, out, engines=RTX)
    assert (out / "engines" / "tensorrt.timing-cache").read_bytes() == b"measured"
    assert open_bundle(out).precision == "fp32"


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp16", "bf16", "fp32"])
def test_the_paper_preset_builds(tmp_path, monkeypatch, precision):
    one = partial(build.random_windows, count=1)  # each takes seconds in every step
    monkeypatch.setattr(build, "random_windows", one)
    run = tmp_path / "paper"
    save_run(run, random_model(PAPER), config_of(PAPER))
    exported = export_run(run, tmp_path / "paper.istvt", precision=precision, engines=RTX)
    encoder, window = exported.engines.records
    weights = exported.bundle.window.with_name("window.onnx.data").stat().st_size
    assert weights < window.num_bytes < 1.1 * weights + 6e6
    assert encoder.num_bytes < 8e6
    assert all(step.passed for step in exported.parity)
