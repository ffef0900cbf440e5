"""Engines over a stand-in for the GPU: held against the bundle's graphs, and kept only if right."""

import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from istvt.bundle.engines import GRAPHS, Place, engine_path, open_engine, read_record
from istvt.bundle.manifest import Bundle, open_bundle
from istvt.errors import DeviceLostError, DeviceMemoryError, EngineError, GateError, UsageError
from istvt.export.build import export_run
from istvt.export.engines import build as engines
from istvt.export.engines import parity as engine_parity
from istvt.export.engines.builder import BuiltEngine, EngineOptions
from istvt.export.engines.parity import rebuild_engines
from istvt.presets import TINY
from istvt.records import ignore
from istvt.runtime.backends.onnxruntime import OnnxRuntimeScorer
from istvt.runtime.parity import ParitySteps, SampleWindows, Tolerance, random_windows
from tests.runtime.backends.cuda.fake_device import FakeDevice, FakeTensorRT
from tests.runtime.backends.gpu import pretend_gpu

RTX, TENSORRT = EngineOptions("rtx"), EngineOptions("tensorrt", plugin="off")


class Machine:
    """What can go wrong: no GPU, engines of another graph, or a GPU that breaks on its way."""

    def __init__(self, patch):
        self.patch, self.graphs, self.gpu = patch, {}, None

    def has(self, *, gpu, **failure):
        for module in (engine_parity, engines):
            self.patch.setattr(module, "open_device", self._open if gpu else self._refuse)
        self.gpu = pretend_gpu(self.patch, **failure) if gpu else None

    def _open(self):
        return FakeDevice()

    def _refuse(self):
        raise EngineError("there is no NVIDIA driver here")

    def build(self, graph, options, **named):
        """An engine of the stand-in holds the path of its graph."""
        path = self.graphs.get(graph.name, graph)
        return BuiltEngine(str(path).encode(), 10, {}, {}, 0.5)


@pytest.fixture
def machine(monkeypatch):
    built = Machine(monkeypatch)
    monkeypatch.setattr(engines, "build_engine", built.build)
    monkeypatch.setattr(engines, "load_tensorrt", lambda flavour: FakeTensorRT(FakeDevice()))
    monkeypatch.setattr(engines, "check_targets", lambda trt, options: None)
    built.has(gpu=True)
    return built


@pytest.fixture
def bundle(tiny_bundle, tmp_path):
    return open_bundle(shutil.copytree(tiny_bundle.folder, tmp_path / "model.istvt"))


@pytest.fixture
def wrong_window(tiny_bundle, tmp_path_factory):
    """The window's graph with another bias at its end."""
    graph = onnx.load(tiny_bundle.window)
    (bias,) = [value for value in graph.graph.initializer if value.name.endswith("head.1.bias")]
    moved = numpy_helper.to_array(bias) + 0.5
    bias.CopyFrom(numpy_helper.from_array(moved.astype("float32"), bias.name))
    path = tmp_path_factory.mktemp("wrong") / "window.onnx"
    onnx.save(graph, path)
    return path


def content_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def steps_of(folder):
    return [(row["reference"], row["candidate"]) for row in open_bundle(folder).parity]


def test_engines_are_held_against_the_graphs_and_it_is_written_down(bundle, machine, tmp_path):
    told = []
    before, age_ns = content_of(bundle.folder), (bundle.folder / "bundle.json").stat().st_mtime_ns
    checked = rebuild_engines(bundle, RTX, progress=lambda stage, *_: told.append(stage))
    (step,) = checked.parity
    assert (step.reference, step.candidate) == ("onnxruntime fp32", "tensorrt_rtx fp32")
    assert (step.windows, step.origin, step.passed) == (8, "random pixels", True)
    assert told == ["parity of onnxruntime fp32", "parity of tensorrt_rtx fp32"]
    assert checked.unchecked == ""
    after = content_of(bundle.folder)
    changed = [path for path, content in before.items() if after[path] != content]
    assert [path.name for path in changed] == ["bundle.json"]
    assert changed[0].stat().st_mtime_ns == age_ns, "another bundle may be the newest model"
    assert open_bundle(bundle.folder).parity == (*bundle.parity, step.to_dict())
    assert read_record(engine_path(bundle.folder, "window", "rtx")) == checked.records[1]
    assert [path.name for path in tmp_path.iterdir()] == ["model.istvt"]


def test_kernels_are_those_that_a_stream_ends_up_with(bundle, machine):
    rebuild_engines(bundle, RTX)
    strategies = {
        context.config.dynamic_shapes_kernel_specialization_strategy
        for context in machine.gpu.tensorrt.contexts
    }
    assert strategies == {FakeTensorRT.DynamicShapesKernelSpecializationStrategy.EAGER}


def test_engines_that_say_something_else_leave_the_bundle_as_it_was(
    bundle, machine, wrong_window, tmp_path
):
    rebuild_engines(bundle, RTX)
    before = content_of(tmp_path)
    machine.graphs["window.onnx"] = wrong_window
    with pytest.raises(GateError, match=r"old bundle was kept:\n(?s:.)*tensorrt_rtx fp32.*FAIL"):
        rebuild_engines(open_bundle(bundle.folder), RTX)
    assert content_of(tmp_path) == before


def test_what_cannot_be_built_leaves_the_bundle_as_it_was(bundle, machine, tmp_path, monkeypatch):
    before = content_of(tmp_path)

    def fail_late(graph, options, **named):
        if graph.name == "window.onnx":
            raise EngineError("no kernel")
        return machine.build(graph, options)

    monkeypatch.setattr(engines, "build_engine", fail_late)
    with pytest.raises(EngineError, match="no kernel"):
        rebuild_engines(bundle, RTX)
    assert content_of(tmp_path) == before


def test_an_interruption_after_all_is_written_leaves_the_bundle_as_it_was(
    bundle, machine, tmp_path, monkeypatch
):
    before = content_of(tmp_path)

    write = Bundle.write_manifest

    def interrupt(draft):
        write(draft)
        raise KeyboardInterrupt

    monkeypatch.setattr(Bundle, "write_manifest", interrupt)
    with pytest.raises(KeyboardInterrupt):
        rebuild_engines(bundle, RTX)
    assert content_of(tmp_path) == before


def test_each_library_has_its_row_and_an_earlier_one_goes(bundle, machine):
    own = steps_of(bundle.folder)
    for options in (RTX, TENSORRT, RTX):
        rebuild_engines(open_bundle(bundle.folder), options)
    tensorrt, rtx = (("onnxruntime fp32", f"{name} fp32") for name in ("tensorrt", "tensorrt_rtx"))
    assert steps_of(bundle.folder) == [*own, tensorrt, rtx]
    for flavour in ("rtx", "tensorrt"):
        assert all(engine_path(bundle.folder, graph, flavour).is_file() for graph in GRAPHS)
    machine.has(gpu=False)
    checked = rebuild_engines(open_bundle(bundle.folder), RTX)
    assert checked.unchecked == "there is no NVIDIA driver here"
    assert checked.parity == ()
    assert steps_of(bundle.folder) == [*own, tensorrt], "that row spoke of engines that are gone"


def test_a_gpu_that_was_there_and_does_not_run_them_is_an_error(bundle, machine, tmp_path):
    before = content_of(tmp_path)
    machine.has(gpu=True, fails_at="run", says="an illegal memory access was encountered")
    with pytest.raises(DeviceLostError):
        rebuild_engines(bundle, RTX)
    machine.has(gpu=True, fails_at="load")
    with pytest.raises(EngineError, match="loading the engine"):
        rebuild_engines(bundle, RTX)
    assert content_of(tmp_path) == before


def test_an_export_whose_engines_do_not_run_keeps_the_old_bundle(tiny_run, machine, tmp_path):
    out = tmp_path / "model.istvt"
    exported = export_run(tiny_run, out, engines=TENSORRT)
    assert exported.parity[-1].candidate == "tensorrt fp32"
    assert exported.parity[-1].reference == "onnxruntime fp32", "OpenVINO may compute in bf16"
    assert exported.engines.parity == exported.parity[-1:]
    before = content_of(tmp_path)
    machine.has(gpu=True, fails_at="context", says="an illegal memory access was encountered")
    with pytest.raises(DeviceLostError):
        export_run(tiny_run, out, engines=TENSORRT)
    assert content_of(tmp_path) == before


def test_what_does_not_gate_is_no_reference(tiny_bundle):
    steps = ParitySteps(random_windows(TINY.spec, count=1), ignore)
    assert not steps.have_begun
    steps.run(tiny_bundle, "torch")
    steps.run(tiny_bundle, "onnxruntime", gates=False)
    steps.run(tiny_bundle, "onnxruntime")
    assert [step.reference for step in steps.results] == ["torch fp32"] * 2
    assert steps.results[0].tolerance == Tolerance()


def test_files_are_copied_where_they_cannot_be_linked(bundle, machine, monkeypatch):
    def refuse(source, target):
        raise OSError("Operation not supported")

    monkeypatch.setattr(engine_parity.os, "link", refuse)
    assert rebuild_engines(bundle, RTX).parity[0].passed
    assert open_bundle(bundle.folder).digest == bundle.digest


def test_the_folder_stays_the_same_one_with_its_rights(bundle, machine, tmp_path):
    """It may be a mount, shared with others, or in a folder that cannot be written."""
    bundle.folder.chmod(0o2775)
    (bundle.folder / "bundle.json").chmod(0o664)
    before = bundle.folder.stat()
    rebuild_engines(bundle, RTX)
    after = bundle.folder.stat()
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert (bundle.folder / "bundle.json").stat().st_mode & 0o777 == 0o664
    assert not list((bundle.folder / "engines").glob(".*"))


def test_nothing_is_written_beside_the_bundle(bundle, machine, tmp_path, monkeypatch):
    seen = []
    build = machine.build

    def look(graph, options, **named):
        seen.append([path.name for path in tmp_path.iterdir()])
        return build(graph, options)

    monkeypatch.setattr(engines, "build_engine", look)
    rebuild_engines(bundle, RTX)
    assert seen == [["model.istvt"]] * 2


def test_a_bundle_that_cannot_be_written_is_told_before_the_work(bundle, machine):
    (bundle.folder / "engines").write_text("in the way, as for root nothing is read-only")
    with pytest.raises(UsageError, match=r"no engines can be written in .*model\.istvt"):
        rebuild_engines(bundle, RTX)


def test_a_kill_between_the_files_is_told_when_they_are_opened(bundle, machine, monkeypatch):
    rebuild_engines(bundle, RTX)
    place = Place(FakeTensorRT.__version__, "13", 13010, 89)
    record, _ = open_engine(bundle, "encoder", "rtx", place=place)
    rename = Path.replace

    def die(source, target):
        rename(source, target)
        if Path(target) == engine_path(bundle.folder, "encoder", "rtx"):
            raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", die)
    with pytest.raises(KeyboardInterrupt):
        rebuild_engines(bundle, RTX)
    with pytest.raises(EngineError, match="rebuild it"):
        open_engine(bundle, "encoder", "rtx", place=place)
    assert read_record(engine_path(bundle.folder, "encoder", "rtx")) == record
    open_engine(bundle, "window", "rtx", place=place)


def test_drafts_of_killed_builds_go_after_a_day(bundle, machine):
    old, new = (bundle.folder / "engines" / f".draft-{name}" for name in ("old", "new"))
    for left in (old, new):
        left.mkdir(parents=True)
    os.utime(old, (0, 0))
    rebuild_engines(bundle, RTX)
    assert (old.exists(), new.exists()) == (False, True)


@pytest.mark.parametrize("options", [RTX, TENSORRT])
@pytest.mark.parametrize("error", [DeviceMemoryError("full"), DeviceLostError("lost")])
def test_a_gpu_that_is_full_or_lost_is_not_absent(bundle, machine, monkeypatch, error, options):
    rebuild_engines(bundle, options)
    before = content_of(bundle.folder)

    def refuse():
        raise error

    for modules in ((engines, engine_parity), (engine_parity,)):
        with monkeypatch.context() as patch:
            for module in modules:
                patch.setattr(module, "open_device", refuse)
            with pytest.raises(type(error)):
                rebuild_engines(bundle, options)
            assert content_of(bundle.folder) == before


def test_engines_for_another_gpu_are_not_waited_for(bundle, machine):
    told = []
    checked = rebuild_engines(
        bundle, EngineOptions("rtx", (120,)), progress=lambda stage, *_: told.append(stage)
    )
    assert "other GPUs than this one, of compute capability 89" in checked.unchecked
    assert told == []


@pytest.fixture(scope="module")
def half_bundle(tiny_run, tmp_path_factory):
    out = tmp_path_factory.mktemp("half") / "half.istvt"
    return export_run(tiny_run, out, precision="fp16").bundle


@pytest.mark.parametrize(("moved", "passes"), [(0.02, True), (0.05, False)])
def test_engines_in_half_precision_are_held_to_the_limits_of_right_kernels(
    half_bundle, monkeypatch, moved, passes
):
    steps = ParitySteps(random_windows(TINY.spec), ignore)
    steps.run(half_bundle, "onnxruntime")
    before = steps._last[1]
    assert 1 < abs(before).max() < 1.5

    def move(scorer, faces):
        return before + moved

    monkeypatch.setattr("istvt.runtime.parity.score_windows", move)
    monkeypatch.setattr("istvt.runtime.parity.open_scorer", lambda *_, **__: opened(half_bundle))
    steps.run_engines(half_bundle, "tensorrt")
    assert steps.results[0].passed is passes


def opened(bundle):
    return OnnxRuntimeScorer(bundle, device="cpu")


@pytest.mark.parametrize(("origin", "passes"), [("random pixels", True), ("held-out", False)])
def test_sides_of_random_pixels_do_not_gate(half_bundle, monkeypatch, origin, passes):
    """A logit may lie at 0.002, and half a per cent of 8 windows is none."""
    logits = iter([np.full(8, 0.002, np.float32), np.full(8, -0.002, np.float32)] * 2)
    monkeypatch.setattr("istvt.runtime.parity.score_windows", lambda *_: next(logits))
    steps = ParitySteps(SampleWindows(random_windows(TINY.spec).faces, origin), ignore)
    steps.run(half_bundle, "onnxruntime")
    steps.run_rounded(half_bundle)
    assert (steps.results[0].flips, steps.results[0].passed) == (8, passes)
