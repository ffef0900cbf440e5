"""What is not to be had is not run, what is to be had and fails is a failure; engines, memory."""

from dataclasses import replace
from itertools import accumulate
from types import SimpleNamespace

import pytest

from gpu_check import builds, bundles, engines, formats, memory, scorers
from gpu_check.check import run_check
from gpu_check.result import Outcome, Settings
from istvt.bundle.engines import (
    EngineRecord,
    Place,
    engine_path,
    onnx_digests,
    open_engine,
    sidecar_of,
)
from istvt.errors import BackendError, DeviceLostError, EngineError, MissingExtraError
from istvt.export.engines.builder import BuiltEngine
from istvt.files import sha256_of_bytes
from istvt.presets import TINY
from tests.fakes import FakeScorer
from tests.random_models import random_model

PLACE = Place(version="10.16.1", cuda="13", driver=13010, compute_capability=90)


@pytest.fixture
def settings(tiny_bundle, tmp_path):
    """A run whose bundles were exported."""
    settings = Settings(device="cuda", preset_name="tiny", work=str(tmp_path), seconds=0.01)
    for precision in bundles.PRECISIONS:
        bundles.bundle_folder(settings, precision).symlink_to(tiny_bundle.folder)
    return settings


def run(name, settings):
    return run_check((scorers.CHECKS | formats.CHECKS | builds.CHECKS)[name], settings)


def raises(error):
    def act(*arguments, **named):
        raise error

    return act


@pytest.fixture
def gpu(monkeypatch):
    """A GPU that is there, with a builder that takes it."""
    gpu = SimpleNamespace(compute_capability=90, close=lambda: None)
    monkeypatch.setattr(engines, "open_device", lambda: gpu)
    monkeypatch.setattr(engines, "check_builder", lambda options: None)
    return gpu


@pytest.mark.parametrize("error", [BackendError, DeviceLostError, EngineError])
@pytest.mark.parametrize(
    "backend", ["torch", "onnxruntime", "onnxruntime-tensorrt", "tensorrt_rtx"]
)
def test_what_is_there_and_does_not_open_fails(settings, monkeypatch, gpu, backend, error):
    monkeypatch.setattr(
        scorers, "PROVIDERS", dict.fromkeys(scorers.PROVIDERS, "CPUExecutionProvider")
    )
    monkeypatch.setattr(engines, "build_engines", lambda *arguments: [])
    monkeypatch.setattr(scorers, "open_scorer", raises(error("'trt_fp16_enable' should be 'True'")))
    answer = run(f"{backend} fp16", settings)
    assert answer["status"] == "fail"
    assert answer["note"] == f"{error.__name__}: 'trt_fp16_enable' should be 'True'"


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_this_machine_lacks_is_not_run(settings):
    runtime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in runtime.get_available_providers():
        pytest.skip("this ONNX Runtime may run on a GPU")
    answer = run("onnxruntime fp16", settings)
    assert answer["status"] == "not run"
    assert "has no CUDAExecutionProvider" in answer["note"]


def test_a_package_that_is_missing_is_not_run(settings, monkeypatch):
    monkeypatch.setattr(scorers, "open_scorer", raises(MissingExtraError("onnxruntime is needed")))
    assert run("onnxruntime fp16", settings)["status"] == "not run"


def test_a_gpu_that_the_builder_refuses_is_not_run(settings, monkeypatch, gpu):
    monkeypatch.setattr(engines, "check_builder", raises(EngineError("it knows no Hopper")))
    answer = run("tensorrt_rtx fp16", settings)
    assert (answer["status"], answer["note"]) == ("not run", "it knows no Hopper")


@pytest.mark.parametrize("capability", [75, 100, 103, 110, 121])
def test_a_gpu_without_our_plugins_is_not_run_with_them(settings, monkeypatch, gpu, capability):
    gpu.compute_capability = capability
    monkeypatch.setattr(engines, "build_engines", raises(EngineError("a build was tried")))
    for plugin in ("temporal", "on"):
        answer = run(f"tensorrt, plugin {plugin} fp16", settings)
        assert answer["status"] == "not run"
        assert f"no kernels for compute capability {capability}" in answer["note"]
    assert run("tensorrt, plugin off fp16", settings)["note"] == "EngineError: a build was tried"


@pytest.mark.parametrize("backend", ["tensorrt_rtx", "onnxruntime-tensorrt"])
def test_a_build_says_that_it_is_one(settings, monkeypatch, gpu, backend):
    """What is stopped meanwhile took too long on this machine; it did not fail."""
    seen = []

    def look(*arguments, **named):
        seen.append(settings.stage_file.read_text())
        raise EngineError("seen enough")

    monkeypatch.setattr(scorers, "PROVIDERS", {})
    builds_when_opened = backend.startswith("onnxruntime")
    monkeypatch.setattr(
        *((scorers, "open_scorer") if builds_when_opened else (engines, "build_engines")), look
    )
    run(f"{backend} fp16", settings)
    assert len(seen) == 1
    assert "built its engines" in seen[0]
    assert not settings.stage_file.exists()


@pytest.mark.parametrize("backend", ["torch", "tensorrt_rtx"])
def test_kernels_settle_before_they_are_judged(settings, monkeypatch, gpu, backend):
    asked = []
    monkeypatch.setattr(engines, "build_engines", lambda *arguments: [])
    monkeypatch.setattr(
        scorers,
        "open_scorer",
        lambda *arguments, **named: asked.append(named) or raises(BackendError("enough"))(),
    )
    run(f"{backend} fp16", settings)
    assert [named["eager_kernels"] for named in asked] == [True]


@pytest.mark.parametrize("has_triton", [True, False])
def test_kernels_that_were_given_up_are_a_failure_where_triton_is(
    settings, monkeypatch, has_triton
):
    def open_scorer(*arguments, **named):
        from istvt.runtime.backends.cuda import torch_model as torch_cuda

        monkeypatch.setattr(torch_cuda, "find_spec", lambda name: None)
        torch_cuda.fused(random_model(TINY))  # warns as where Triton is missing
        return FakeScorer(TINY)

    monkeypatch.setattr(scorers, "open_scorer", open_scorer)
    monkeypatch.setattr(scorers, "find_spec", lambda name: has_triton or None)
    monkeypatch.setattr(scorers, "broken_promises", lambda *arguments, **named: [])
    monkeypatch.setattr(scorers, "outcome_of", lambda *arguments: Outcome(passed=True))
    monkeypatch.setattr(scorers, "_latency", lambda *arguments: {})
    answer = run("torch fp16", settings)
    assert answer["status"] == ("fail" if has_triton else "pass")
    assert scorers.UNFUSED in answer["note"]


def test_an_export_that_fails_leaves_nothing_to_open(monkeypatch, tmp_path):
    from istvt.export import graph

    settings = Settings(device="cpu", preset_name="tiny", work=str(tmp_path))
    monkeypatch.setattr(graph, "export_encoder", lambda model, path: path.write_bytes(b"half"))
    monkeypatch.setattr(graph, "export_window", raises(RuntimeError("another exporter")))
    for part in (scorers, builds):  # the second finds what the first left
        answer = run_check(part.CHECKS["export fp16"], settings)
        assert (answer["status"], answer["note"]) == ("fail", "RuntimeError: another exporter")
    for backend in ("torch", "onnxruntime"):
        answer = run(f"{backend} fp16", settings)
        assert answer["status"] == "not run"
        assert "see the check 'export fp16'" in answer["note"]


def test_an_export_is_there_when_it_is_whole(monkeypatch, tmp_path):
    from istvt.export import graph

    def export_window(model, path, *, inlined):
        for file in (path, inlined, path.with_name("window.onnx.data")):
            file.write_bytes(b"a graph")

    settings = Settings(device="cpu", preset_name="tiny", work=str(tmp_path))
    monkeypatch.setattr(graph, "export_encoder", lambda model, path: path.write_bytes(b"a graph"))
    monkeypatch.setattr(graph, "export_window", export_window)
    answer = run("export fp32", settings)
    assert answer["status"] == "measured", answer
    assert bundles.open_exported(settings, "fp32").window.read_bytes() == b"a graph"


def test_a_bundle_is_exported_once(settings):
    answer = run("export fp16", settings)
    assert (answer["status"], answer["note"]) == ("measured", "an earlier part wrote it")
    assert answer["figures"]["bundle_mib"] > 1


@pytest.mark.parametrize("broken", ["open_device", "build_engines"])
def test_a_build_that_should_work_and_does_not_fails(settings, monkeypatch, gpu, broken):
    monkeypatch.setattr(engines, broken, raises(EngineError("no kernel for node 7")))
    assert run("tensorrt, plugin on fp16", settings)["status"] == "fail"


def test_a_rehearsal_has_no_gpu(settings):
    answer = run("onnxruntime-tensorrt fp16", replace(settings, device="cpu"))
    assert answer["status"] == "not run"


def test_all_backends_in_all_precisions():
    for precision in bundles.PRECISIONS:
        for backend in ("torch", "onnxruntime", "onnxruntime-tensorrt", "tensorrt_rtx"):
            name = f"{backend} {precision}"
            listed = [name in part.CHECKS for part in (scorers, formats, builds)]
            assert listed.count(True) == 1


def write_engine(bundle, *, plugins=(), window_ms=None):
    record = EngineRecord(
        flavour="tensorrt",
        version=PLACE.version,
        cuda=PLACE.cuda,
        driver=PLACE.driver,
        gpu="fake",
        compute_capabilities=(90,),
        precision="fp16",
        max_batch=8,
        plugins=plugins,
        onnx=onnx_digests(bundle, "window"),
        sha256=sha256_of_bytes(b"an engine"),
        num_bytes=9,
        num_layers=3,
        build_s=1.0,
        window_ms=window_ms or {},
    )
    path = engine_path(bundle.folder, "window", "tensorrt")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"an engine")
    record.write(sidecar_of(path))


@pytest.fixture
def bundle(tiny_bundle, tmp_path):
    """The bundle's manifest over a folder of its own."""
    return replace(tiny_bundle, folder=tmp_path)


def test_the_temporal_plugin_alone(settings, bundle, monkeypatch, gpu):
    built, asked = [], []

    def build_engine(graph, options, *, max_batch, plugins, timing_cache):
        asked.append((graph.name, max_batch, plugins.attentions, plugins.compute_capability))
        return BuiltEngine(b"another engine", 5, {}, {}, 2.0)

    def build_engines(bundle, options):
        built.append(options.plugin)
        write_engine(bundle)

    monkeypatch.setattr(engines, "build_engines", build_engines)
    monkeypatch.setattr(engines, "build_engine", build_engine)
    engines.build(settings, bundle, "tensorrt", "off")
    engines.build(settings, bundle, "tensorrt", "temporal")
    assert built == ["off"]  # what is there is not built again
    assert asked == [("window.onnx", 8, ("temporal",), 90)]
    record, content = open_engine(bundle, "window", "tensorrt", place=PLACE)
    assert (record.way, content) == ("temporal plugin", b"another engine")
    engines.build(settings, bundle, "tensorrt", "on")
    engines.build(settings, bundle, "tensorrt", "auto")
    assert built == ["off", "on", "auto"]


def test_the_row_names_the_plugins_and_their_times(settings, bundle, monkeypatch):
    monkeypatch.setattr(scorers, "open_exported", lambda settings, precision: bundle)
    monkeypatch.setattr(
        engines,
        "build",
        lambda *arguments: write_engine(
            bundle, plugins=("temporal",), window_ms={"no plugin": 2.0, "temporal plugin": 1.5}
        ),
    )
    monkeypatch.setattr(scorers, "open_scorer", lambda *arguments, **named: FakeScorer(TINY))
    monkeypatch.setattr(scorers, "_latency", lambda *arguments: {})
    note = run("tensorrt, plugin auto fp16", settings)["note"]
    assert "built with temporal plugin, no plugin 2 ms, temporal plugin 1.5 ms" in note


class Leaks(FakeScorer):
    """Keeps something of each change of an uncaptured size."""

    used_bytes, last = 0, 0

    def score(self, windows):
        if len(windows) not in (1, 2, 4, 8) and len(windows) != self.last:
            self.used_bytes += 100 << 10
            self.last = len(windows)
        return super().score(windows)


class TakesOnce(FakeScorer):
    """Takes memory for each size when it first comes."""

    sizes: frozenset[int] = frozenset()

    def score(self, windows):
        self.sizes |= {len(windows)}
        return super().score(windows)

    @property
    def used_bytes(self):
        return len(self.sizes) << 24


@pytest.mark.parametrize(("kind", "passes"), [(Leaks, False), (TakesOnce, True)])
def test_memory_that_grows_with_each_change_of_size(monkeypatch, kind, passes):
    monkeypatch.setattr(memory, "HALF_S", 0.0)
    scorer = kind(TINY)
    outcome = memory.measure_growth(scorer, lambda: (1 << 40) - scorer.used_bytes)
    assert outcome.passed == passes
    assert outcome.figures["batches"] == 400


@pytest.mark.parametrize("taken", [(0, 1, 0), (0, 0, 1)])
def test_another_program_that_takes_memory_is_no_leak(monkeypatch, taken):
    monkeypatch.setattr(memory, "HALF_S", 0.0)
    free = iter(accumulate(-once * (1 << 30) for once in taken))
    assert memory.measure_growth(FakeScorer(TINY), lambda: next(free)).passed


def test_memory_is_looked_at_while_the_engine_has_plugins():
    for checks in (scorers.CHECKS, formats.CHECKS):
        names = list(checks)
        for position, name in enumerate(names):
            if name.startswith("tensorrt, memory"):
                assert names[position - 1].startswith("tensorrt, plugin on")


def test_memory_needs_an_engine_with_a_plugin(settings, bundle, monkeypatch):
    monkeypatch.setattr(memory, "open_exported", lambda settings, precision: bundle)
    assert run("tensorrt, memory fp16", settings)["status"] == "not run"
    write_engine(bundle)
    assert run("tensorrt, memory fp16", settings)["status"] == "not run"
