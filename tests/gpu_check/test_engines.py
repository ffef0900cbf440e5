"""What is not to be had is not run, what is to be had and fails is a failure; engines, memory."""

from dataclasses import replace
from itertools import accumulate
from types import SimpleNamespace
from typing import Any

import pytest

from gpu_check import engines, subject
from gpu_check.engines import PRECISIONS, SUBJECTS, Subject
from gpu_check.plan import JOBS
from gpu_check.subject import Settings
from gpu_check.table import Row
from gpu_check.worker import measure
from istvt.bundle.engines import EngineRecord, engine_path, onnx_digests, sidecar_of
from istvt.errors import BackendError, DeviceLostError, EngineError, MissingExtraError
from istvt.files import sha256_of_bytes
from istvt.presets import TINY
from tests.fakes import FakeScorer
from tests.gpu import memory


@pytest.fixture
def settings(tiny_bundle, tmp_path):
    """A run whose bundles were exported."""
    settings = Settings(device="cuda", preset_name="tiny", work=str(tmp_path), seconds=0.01)
    for precision in PRECISIONS:
        engines.bundle_folder(settings, precision).symlink_to(tiny_bundle.folder)
    return settings


def run(act: str, settings: Settings, name: str = "", dtype: str = "fp16") -> Row:
    """Call as a worker does."""
    rows: list[Row] = []
    job = {"function": f"gpu_check.engines:{act}", "timeout_s": 60, "settings": vars(settings)}
    measure(job, Row("scorers", "", name, dtype), lambda row: rows.append(Row(**row)))
    return rows[0]


def opens(settings: Settings, row: Row) -> Row:
    """Open what a row is about, as tests and times do."""
    with engines.open_subject(settings, engines.subject_of(row)):
        return replace(row, status="pass")


@pytest.fixture(autouse=True)
def _opens(monkeypatch):
    monkeypatch.setattr(engines, "opens", opens, raising=False)


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
    ("act", "name"),
    [
        *(("opens", "torch"), ("opens", "onnxruntime")),
        *(("build", "onnxruntime-tensorrt"), ("opens", "tensorrt_rtx")),
    ],
)
def test_what_is_there_and_does_not_open_fails(settings, monkeypatch, gpu, act, name, error):
    cpu = "CPUExecutionProvider"
    monkeypatch.setattr(engines, "PROVIDERS", dict.fromkeys(engines.PROVIDERS, cpu))
    monkeypatch.setattr(engines, "build_engines", lambda *arguments: [])
    if name == "tensorrt_rtx":
        assert run("build", settings, name).status == "measured"
    monkeypatch.setattr(engines, "open_scorer", raises(error("'trt_fp16_enable' should be 'True'")))
    row = run(act, settings, name)
    assert row.status == "fail"
    assert row.reason == f"{error.__name__}: 'trt_fp16_enable' should be 'True'"


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_this_machine_lacks_is_not_run(settings):
    runtime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in runtime.get_available_providers():
        pytest.skip("this ONNX Runtime may run on a GPU")
    row = run("opens", settings, "onnxruntime")
    assert row.status == "not run"
    assert "has no CUDAExecutionProvider" in row.reason


def test_a_package_that_is_missing_is_not_run(settings, monkeypatch):
    monkeypatch.setattr(engines, "open_scorer", raises(MissingExtraError("onnxruntime is needed")))
    assert run("opens", settings, "onnxruntime").status == "not run"


def test_a_gpu_that_the_builder_refuses_is_not_run(settings, monkeypatch, gpu):
    monkeypatch.setattr(engines, "check_builder", raises(EngineError("it knows no Hopper")))
    row = run("build", settings, "tensorrt_rtx")
    assert (row.status, row.reason) == ("not run", "it knows no Hopper")


@pytest.mark.parametrize("capability", [75, 100, 103, 110, 121])
def test_a_gpu_without_our_plugins_is_not_run_with_them(settings, monkeypatch, gpu, capability):
    gpu.compute_capability = capability
    monkeypatch.setattr(engines, "build_engines", raises(EngineError("a build was tried")))
    row = run("build", settings, "tensorrt, plugin on")
    assert row.status == "not run"
    assert f"no kernels for compute capability {capability}" in row.reason
    tried = run("build", settings, "tensorrt, plugin off")
    assert tried.reason == "EngineError: a build was tried"


@pytest.mark.parametrize("name", ["tensorrt_rtx", "onnxruntime-tensorrt"])
def test_a_build_says_that_it_is_one(settings, monkeypatch, gpu, name):
    """What is stopped meanwhile took too long on this machine; it did not fail."""
    told, seen = [""], []

    def look(*arguments, **named):
        seen.append(told[-1])
        raise EngineError("seen enough")

    monkeypatch.setattr(subject, "build_listeners", [told.append])
    monkeypatch.setattr(engines, "PROVIDERS", {})
    builds_when_opened = name.startswith("onnxruntime")
    monkeypatch.setattr(engines, "open_scorer" if builds_when_opened else "build_engines", look)
    run("build", settings, name)
    assert len(seen) == 1
    assert "built its engines" in seen[0]
    assert told[-1] == ""


@pytest.mark.parametrize("name", ["torch", "tensorrt_rtx"])
def test_kernels_settle_before_they_are_judged(settings, monkeypatch, gpu, name):
    asked = []
    monkeypatch.setattr(engines, "build_engines", lambda *arguments: [])
    monkeypatch.setattr(
        engines,
        "open_scorer",
        lambda *arguments, **named: asked.append(named) or raises(BackendError("enough"))(),
    )
    if name == "tensorrt_rtx":
        run("build", settings, name)
    run("opens", settings, name)
    assert [named["eager_kernels"] for named in asked] == [True]


def test_an_export_that_fails_leaves_nothing_to_open(monkeypatch, tmp_path):
    from istvt.export import graph

    settings = Settings(device="cpu", preset_name="tiny", work=str(tmp_path))
    monkeypatch.setattr(graph, "export_encoder", lambda model, path: path.write_bytes(b"half"))
    monkeypatch.setattr(graph, "export_window", raises(RuntimeError("another exporter")))
    for _ in range(2):  # the second finds what the first left
        row = run("export", settings)
        assert (row.status, row.reason) == ("fail", "RuntimeError: another exporter")
    for name in ("torch", "onnxruntime"):
        row = run("opens", settings, name)
        assert row.status == "not run"
        assert "see the row 'export' of fp16" in row.reason


def test_an_export_is_there_when_it_is_whole(monkeypatch, tmp_path):
    from istvt.export import graph

    def export_window(model, path, *, inlined):
        for file in (path, inlined, path.with_name("window.onnx.data")):
            file.write_bytes(b"a graph")

    settings = Settings(device="cpu", preset_name="tiny", work=str(tmp_path))
    monkeypatch.setattr(graph, "export_encoder", lambda model, path: path.write_bytes(b"a graph"))
    monkeypatch.setattr(graph, "export_window", export_window)
    row = run("export", settings, dtype="fp32")
    assert row.status == "measured", row
    assert engines.open_exported(settings, "fp32").window.read_bytes() == b"a graph"


def test_a_bundle_is_exported_once(settings, monkeypatch):
    monkeypatch.setattr(engines, "make_model", raises(AssertionError("it is there")))
    row = run("export", settings)
    assert (row.status, row.unit) == ("measured", "MiB")
    assert row.value > 1


@pytest.mark.parametrize("broken", ["open_device", "build_engines"])
def test_a_build_that_should_work_and_does_not_fails(settings, monkeypatch, gpu, broken):
    monkeypatch.setattr(engines, broken, raises(EngineError("no kernel for node 7")))
    assert run("build", settings, "tensorrt, plugin on").status == "fail"


@pytest.mark.parametrize("act", ["build", "opens"])
def test_a_rehearsal_has_no_gpu(settings, act):
    row = run(act, replace(settings, device="cpu"), "onnxruntime-tensorrt")
    assert (row.status, "a rehearsal has no GPU" in row.reason) == ("not run", True)


def test_all_backends_in_all_precisions():
    frames = [
        (job.row.subject, job.row.dtype, job.row.batch)
        for job in JOBS
        if job.function.endswith(":measure_scorer")
    ]
    for precision in PRECISIONS:
        for backend in ("torch", "onnxruntime", "onnxruntime-tensorrt", "tensorrt_rtx"):
            for batch in (1, 8):
                assert frames.count((backend, precision, batch)) == 1
    assert len(frames) == 2 * len(SUBJECTS)


def test_engines_are_looked_at_before_others_take_their_place():
    for job, tests, first, second in zip(JOBS, JOBS[1:], JOBS[2:], JOBS[3:], strict=False):
        if job.row.name == "build":
            following = [tests.row.name, first.row.batch, second.row.batch]
            assert following == ["tests", 1, 8]
            assert {one.row.subject for one in (tests, first, second)} == {job.row.subject}


def write_engine(bundle, *, plugins=(), window_ms=None):
    record = EngineRecord(
        flavour="tensorrt",
        version="10.16.1",
        cuda="13",
        driver=13010,
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
def bundle(tiny_bundle, tmp_path, monkeypatch):
    """The bundle's manifest over a folder of its own, which rows open."""
    bundle = replace(tiny_bundle, folder=tmp_path)
    monkeypatch.setattr(engines, "open_exported", lambda settings, precision: bundle)
    return bundle


def test_a_scorer_opens_the_engines_that_were_built_for_it(settings, bundle, monkeypatch, gpu):
    built: list[Any] = []
    monkeypatch.setattr(engines, "open_scorer", lambda *arguments, **named: FakeScorer(TINY))
    monkeypatch.setattr(engines, "build_engines", lambda _, options: built.append(options.plugin))
    names = ("tensorrt, plugin off", "tensorrt, plugin on")
    assert run("opens", settings, names[0]).reason == (
        "there is no engine: see the row 'build' of tensorrt, plugin off"
    )
    for name, other in (names, names[::-1]):
        assert run("build", settings, name).status == "measured"
        assert run("opens", settings, name).status == "pass"
        assert run("opens", settings, other).status == "not run"
    monkeypatch.setattr(engines, "build_engines", raises(EngineError("no kernel for node 7")))
    assert run("build", settings, names[1]).status == "fail"
    assert run("opens", settings, names[1]).status == "not run"
    assert built == ["off", "on"]


def test_tests_without_a_plan_build_what_is_missing_once(settings, bundle, monkeypatch, gpu):
    built: list[Any] = []
    monkeypatch.setattr(engines, "build_engines", lambda _, options: built.append(options.plugin))
    for _ in range(2):
        for plugin in ("off", "on"):
            for _ in range(2):
                engines.prepare(settings, Subject("tensorrt", "fp16", plugin))
    engines.prepare(settings, Subject("torch", "fp16"))
    assert built == ["off", "on"] * 2


def test_the_row_names_the_plugins_and_their_times(settings, bundle, monkeypatch, gpu):
    times_ms = {"no plugin": 2.0, "temporal plugin": 1.5}
    monkeypatch.setattr(
        engines,
        "build_engines",
        lambda *_: write_engine(bundle, plugins=("temporal",), window_ms=times_ms),
    )
    row = run("build", settings, "tensorrt, plugin auto")
    assert (row.status, row.unit, row.note) == ("measured", "s", "built with temporal plugin")
    assert row.figures == {"no plugin ms": 2.0, "temporal plugin ms": 1.5}


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
    scored = scorer.scored_batches
    grown_mib = memory.measure_growth(scorer, lambda: (1 << 40) - scorer.used_bytes)
    assert (min(grown_mib) <= memory.ALLOWED_MIB) == passes
    assert len(scored) == (memory.WARM_UP_ROUNDS + 2 * memory.AT_LEAST_ROUNDS) * 8


@pytest.mark.parametrize("taken", [(0, 1, 0), (0, 0, 1)])
def test_another_program_that_takes_memory_is_no_leak(monkeypatch, taken):
    monkeypatch.setattr(memory, "HALF_S", 0.0)
    free = iter(accumulate(-once * (1 << 30) for once in taken))
    grown_mib = memory.measure_growth(FakeScorer(TINY), lambda: next(free))
    assert max(grown_mib) == 1024
    assert min(grown_mib) <= memory.ALLOWED_MIB
