import ctypes
import gc
import weakref
from dataclasses import replace
from importlib import metadata
from types import SimpleNamespace

import numpy as np
import pytest

from istvt.bundle import flavour
from istvt.bundle.manifest import open_bundle
from istvt.errors import (
    BackendError,
    DeviceLostError,
    DeviceMemoryError,
    EngineError,
    MissingExtraError,
)
from istvt.presets import TINY
from istvt.runtime.backends import onnxruntime_gpu
from istvt.runtime.backends import tensorrt as engines
from istvt.runtime.backends.choose import open_scorer
from istvt.runtime.backends.cuda import engine as engine_runner
from istvt.runtime.backends.cuda import graph as cuda_graph
from istvt.runtime.backends.cuda.scorer import SLOTS_OF_A_SLAB
from tests.runtime.backends import gpu
from tests.runtime.backends.cuda.fake_device import FakeDevice, graphs_on

SIZE, FRAMES = TINY.image_size, TINY.num_frames


@pytest.fixture
def opened(request, tiny_bundle, tmp_path, monkeypatch):
    backend = getattr(request, "param", "tensorrt_rtx")
    scorer, its_gpu = gpu.open_on_gpu(tiny_bundle, backend, tmp_path / "m.istvt", monkeypatch)
    with scorer:
        yield scorer, its_gpu


def faces_of(count, *, seed=0):
    shape = (count, SIZE, SIZE, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_only_the_logits_are_waited_for(opened):
    scorer, its_gpu = opened
    window = [scorer.encode(face[None])[0] for face in faces_of(2)] * 3
    assert (its_gpu.device.waits, its_gpu.device.synchronizations) == (0, 0)
    scorer.score([window])
    assert its_gpu.device.synchronizations == 1


def test_pinned_memory_is_filled_again_only_after_its_copy(opened):
    scorer, its_gpu = opened
    faces = faces_of(5)
    one_by_one = [scorer.encode(face[None])[0] for face in faces]
    assert its_gpu.device.waits == 3
    together = scorer.encode(faces)
    assert scorer.score([(one_by_one * 2)[:FRAMES]]) == pytest.approx(
        scorer.score([(together * 2)[:FRAMES]]), abs=1e-5
    )


def test_memory_is_flat_while_windows_slide(opened):
    scorer, its_gpu = opened
    window = scorer.encode(faces_of(FRAMES))
    before = len(its_gpu.device.buffers)
    for step in range(2 * SLOTS_OF_A_SLAB):
        window = [*window[1:], *scorer.encode(faces_of(1, seed=step))]
        if step % 50 == 0:
            scorer.score([window])
    gc.collect()
    assert len(its_gpu.device.buffers) == before
    fresh = scorer.encode(np.concatenate([faces_of(1, seed=s) for s in range(122, 128)]))
    assert scorer.score([window]) == pytest.approx(scorer.score([fresh]), abs=1e-5)


@pytest.mark.parametrize("opened", ["tensorrt"], indirect=True)
def test_the_window_pass_is_captured_once_a_batch_size(opened):
    scorer, its_gpu = opened
    windows = [scorer.encode(faces_of(FRAMES, seed=seed)) for seed in range(4)]
    alone = [scorer.score([window])[0] for window in windows]
    (graph,) = its_gpu.graphs.made
    assert graph.launches == 3, "the first pass sets up, the others are launched"
    for count in (2, 3, 3, 2, 2):
        np.testing.assert_allclose(scorer.score(windows[:count]), alone[:count], atol=1e-5)
    assert len(its_gpu.graphs.made) == 2, "no graph for three windows"
    passes = [context.batches for context in its_gpu.tensorrt.contexts if not is_encoder(context)]
    assert sorted(passes) == [[], [1, 1], [2, 2], [3, 3]], "once as it is, once for its graph"


def is_encoder(context):
    return context.engine.source.name == "faces"


@pytest.mark.parametrize("opened", ["tensorrt"], indirect=True)
def test_no_graph_shares_a_context_and_all_share_the_scratch_memory(opened):
    scorer, its_gpu = opened
    (face,) = scorer.encode(faces_of(1))
    for count in (1, 2, 1, 2, 3, 1, 2):
        scorer.score([[face] * FRAMES] * count)
    contexts = [context for context in its_gpu.tensorrt.contexts if not is_encoder(context)]
    for context in contexts:
        assert len(set(context.batches)) < 2, "a graph is undone by another size in its context"
    assert len({context.scratch for context in contexts}) == 1
    address, num_bytes = contexts[0].scratch
    assert its_gpu.device.buffers[address].nbytes == num_bytes == 640


def test_with_plugins_no_context_changes_its_shape(tiny_bundle, tmp_path, monkeypatch):
    """NVIDIA/TensorRT#4849: each change leaks GPU memory."""
    its_gpu = gpu.pretend_gpu(monkeypatch)
    bundle = gpu.with_engines(
        tiny_bundle, tmp_path / "m.istvt", "tensorrt", max_batch=7, plugins=("temporal",)
    )
    with open_scorer(bundle, backend="tensorrt") as scorer:
        (face,) = scorer.encode(faces_of(1))
        for count in (3, 1, 2, 3, 5, 1, 3):
            scorer.score([[face] * FRAMES] * count)
        windows = [context for context in its_gpu.tensorrt.contexts if not is_encoder(context)]
        sizes = [sorted(set(context.batches)) for context in windows]
        assert sorted(sizes) == [[], [1], [2], [3], [5]]
        assert len({context.scratch for context in windows}) == 1


@pytest.mark.parametrize("opened", ["tensorrt"], indirect=True)
def test_a_pass_that_failed_set_nothing_up_for_a_capture(opened):
    scorer, its_gpu = opened
    window = scorer.encode(faces_of(FRAMES))
    its_gpu.tensorrt.fails_at, its_gpu.tensorrt.says = "run", "out of memory"
    with pytest.raises(DeviceMemoryError):
        scorer.score([window])
    its_gpu.tensorrt.fails_at = None
    scorer.score([window])
    assert its_gpu.graphs.made == [], "a context was captured that never ran"
    scorer.score([window])
    assert len(its_gpu.graphs.made) == 1


@pytest.mark.parametrize("opened", ["tensorrt"], indirect=True)
def test_what_cannot_be_captured_runs_without_a_graph(opened, monkeypatch, caplog):
    scorer, its_gpu = opened
    refuses = graphs_on(its_gpu.device, error=BackendError("operation not permitted"))
    monkeypatch.setattr(cuda_graph, "CudaGraph", refuses)
    window = scorer.encode(faces_of(FRAMES))
    logits = [scorer.score([window])[0] for _ in range(4)]
    assert logits == pytest.approx([logits[0]] * 4, abs=1e-6)
    assert caplog.text.count("without a CUDA graph") == 1
    lost = graphs_on(its_gpu.device, error=DeviceLostError("launch failed"))
    monkeypatch.setattr(cuda_graph, "CudaGraph", lost)
    scorer._graphs.can_capture = True
    with pytest.raises(DeviceLostError):
        scorer.score([window])


def test_a_bundle_that_cannot_be_written_to_is_left_alone(tiny_bundle, tmp_path, monkeypatch):
    scorer, its_gpu = gpu.open_on_gpu(
        tiny_bundle, "tensorrt_rtx", tmp_path / "m.istvt", monkeypatch
    )

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(engine_runner, "atomic_file", refuse)
    scorer.close()
    assert its_gpu.device.is_closed


def test_rtx_makes_its_graphs_itself_and_keeps_what_it_compiled(tiny_bundle, tmp_path, monkeypatch):
    folder = tmp_path / "m.istvt"
    scorer, its_gpu = gpu.open_on_gpu(tiny_bundle, "tensorrt_rtx", folder, monkeypatch)
    with scorer:
        scorer.score([scorer.encode(faces_of(FRAMES))] * 2)
        scorer.score([scorer.encode(faces_of(FRAMES))] * 2)
    assert not its_gpu.graphs.made
    assert its_gpu.tensorrt.contexts[1].config.cuda_graph_strategy == "whole"
    kept = folder / "engines" / "window-rtx.runtime-cache"
    assert kept.read_bytes() == b"!"
    with open_scorer(open_bundle(folder), backend="tensorrt_rtx"):
        assert its_gpu.tensorrt.caches[-1].content == b"!"


def test_more_rows_than_the_profile_are_split(opened):
    scorer, its_gpu = opened
    faces = faces_of(9)
    handles = scorer.encode(faces)
    windows = [handles[start : start + FRAMES] for start in (0, 1, 2, 3, 0)]
    logits = scorer.score(windows)
    encoder, window = its_gpu.tensorrt.contexts
    assert encoder.batches == [4, 4, 1]
    assert window.batches == [4, 1]
    assert logits[4] == pytest.approx(logits[0], abs=1e-5)
    assert np.ptp(logits) > 1e-4


@pytest.mark.parametrize("backend", gpu.BACKENDS)
def test_closing_frees_all(tiny_bundle, tmp_path, monkeypatch, backend):
    scorer, its_gpu = gpu.open_on_gpu(tiny_bundle, backend, tmp_path / "m.istvt", monkeypatch)
    handles = scorer.encode(faces_of(3))
    assert its_gpu.device.queue
    scorer.close()
    assert its_gpu.device.buffers == {}
    assert its_gpu.device.is_closed
    del handles


@pytest.mark.parametrize("backend", gpu.BACKENDS)
def test_what_is_closed_is_closed_again_and_not_used(tiny_bundle, tmp_path, monkeypatch, backend):
    scorer, its_gpu = gpu.open_on_gpu(tiny_bundle, backend, tmp_path / "m.istvt", monkeypatch)
    window = scorer.encode(faces_of(FRAMES))
    scorer.close()
    closed = its_gpu.device.synchronizations
    scorer.close()
    assert its_gpu.device.synchronizations == closed
    for use in (lambda: scorer.encode(faces_of(1)), lambda: scorer.score([window])):
        with pytest.raises(BackendError, match="is closed: open another"):
            use()


def test_what_rtx_compiled_is_let_go_before_its_runtime(tiny_bundle, tmp_path, monkeypatch):
    folder = tmp_path / "m.istvt"
    scorer, its_gpu = gpu.open_on_gpu(tiny_bundle, "tensorrt_rtx", folder, monkeypatch)
    order = []
    weakref.finalize(its_gpu.tensorrt.caches[1], order.append, "cache")
    weakref.finalize(scorer._window._runtime, order.append, "runtime")
    its_gpu.tensorrt.caches.clear()
    its_gpu.tensorrt.contexts.clear()
    runner = scorer._window
    scorer.close()
    del scorer
    gc.collect()
    assert order == ["cache", "runtime"]
    del runner


@pytest.mark.parametrize(
    ("step", "says", "error"),
    [
        ("start", "CUDA initialization failure with error: 35", EngineError),
        ("load", "cannot read the plan", EngineError),
        ("load", "CUDA error: out of memory", DeviceMemoryError),
        ("context", "Cuda Runtime (out of memory)", DeviceMemoryError),
        ("run", "an illegal memory access was encountered", DeviceLostError),
        ("run", "unspecified launch failure", DeviceLostError),
        ("run", "set_input_shape: static dimension mismatch", EngineError),
    ],
)
def test_what_fails_is_told_by_its_kind(tiny_bundle, tmp_path, monkeypatch, step, says, error):
    def act():
        scorer, _ = gpu.open_on_gpu(
            tiny_bundle,
            "tensorrt_rtx",
            tmp_path / "m.istvt",
            monkeypatch,
            fails_at=step,
            says=says,
        )
        scorer.encode(faces_of(1))

    with pytest.raises(error, match=says.replace("(", r"\(").replace(")", r"\)")) as told:
        act()
    assert type(told.value) is error


@pytest.mark.parametrize("backend", ["tensorrt_rtx", "tensorrt"])
def test_closing_raises_nothing_over_the_error_that_lost_the_device(
    tiny_bundle, tmp_path, monkeypatch, caplog, backend
):
    says = "an illegal memory access was encountered"
    failure = {"fails_at": "run", "says": says}
    folder = tmp_path / "m.istvt"
    scorer, its_gpu = gpu.open_on_gpu(tiny_bundle, backend, folder, monkeypatch, **failure)
    with pytest.raises(DeviceLostError, match=says), scorer:
        scorer.encode(faces_of(1))
    assert its_gpu.device.is_closed
    assert "could be freed: a later call failed" in caplog.text


def test_auto_goes_on_after_a_lost_device(tiny_bundle, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    gpu.pretend_gpu(monkeypatch, fails_at="run", says="an illegal memory access")
    bundle = gpu.with_engines(tiny_bundle, tmp_path / "m.istvt", "rtx")
    with open_scorer(bundle) as scorer:
        assert scorer.info.device == "cpu"
    assert "tensorrt_rtx on cuda does not run here: running the engine" in caplog.text


def test_a_full_gpu_says_what_to_do(tiny_bundle, tmp_path, monkeypatch):
    device = FakeDevice(memory_bytes=1 << 18)
    with pytest.raises(DeviceMemoryError):
        gpu.open_on_gpu(
            tiny_bundle, "tensorrt_rtx", tmp_path / "m.istvt", monkeypatch, device=device
        )
    assert device.is_closed


def test_a_first_engine_is_let_go_where_the_second_cannot_be_had(
    tiny_bundle, tmp_path, monkeypatch
):
    its_gpu = gpu.pretend_gpu(monkeypatch)
    bundle = gpu.with_engines(tiny_bundle, tmp_path / "m.istvt", "tensorrt")
    make, made = engines.EngineRunner, []

    def make_one(*arguments, **named):
        if made:
            raise EngineError("the second")
        made.append(make(*arguments, **named))
        return made[0]

    monkeypatch.setattr(engines, "EngineRunner", make_one)
    with pytest.raises(EngineError, match="the second"):
        open_scorer(bundle, backend="tensorrt")
    assert its_gpu.device.buffers == {}
    assert its_gpu.device.is_closed


@pytest.mark.parametrize("backend", ["tensorrt_rtx", "tensorrt"])
def test_no_engine_names_the_command(tiny_bundle, backend):
    with pytest.raises(EngineError, match=r"istvt export --model .*tiny\.istvt --engine "):
        open_scorer(tiny_bundle, backend=backend)


def test_an_engine_for_another_gpu_is_not_loaded(tiny_bundle, tmp_path, monkeypatch):
    device = FakeDevice(compute_capability=120)
    with pytest.raises(EngineError, match="this GPU has 120; rebuild it"):
        gpu.open_on_gpu(
            tiny_bundle, "tensorrt_rtx", tmp_path / "m.istvt", monkeypatch, device=device
        )


@pytest.mark.parametrize("backend", ["tensorrt_rtx", "tensorrt"])
@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"version": "1.6.0"}, r"by TensorRT.* 1\.6\.0, and this is 1\.7\.1"),
        ({"compute_capabilities": (86,)}, "capability 86, and this GPU has 89"),
        ({"driver": 13020}, r"CUDA 13\.2 or later, and this one is of 13\.1: update the driver"),
        ({"cuda": "12"}, r"for CUDA 12, and this TensorRT.* is for 13"),
        ({"num_bytes": 10**6}, "bytes of 1000000: it is cut off"),
        ({"onnx": {"window.onnx": "0" * 64}}, "other ONNX files than those beside it"),
    ],
)
def test_an_engine_that_does_not_fit_is_told_or_passed_over_aloud(
    tiny_bundle, tmp_path, monkeypatch, caplog, backend, changed, told
):
    its_gpu = gpu.pretend_gpu(monkeypatch)
    flavour = "rtx" if backend == "tensorrt_rtx" else "tensorrt"
    bundle = gpu.with_engines(tiny_bundle, tmp_path / "m.istvt", flavour, **changed)
    remedy = f"rebuild it: istvt export --model {bundle.folder} --engine {flavour}"
    with pytest.raises(EngineError, match=f"{told}; {remedy}"):
        open_scorer(bundle, backend=backend)
    assert its_gpu.tensorrt.contexts == [], "it was loaded before it was checked"
    caplog.set_level("INFO")
    with open_scorer(bundle) as scorer:
        assert scorer.info.device == "cpu"
    assert f"{backend} on cuda does not run here: " in caplog.text
    assert remedy in caplog.text


def test_an_old_engine_of_tensorrt_does_not_stand_in_the_way_of_tensorrt_rtx(
    tiny_bundle, tmp_path, monkeypatch
):
    """Once TensorRT is loaded, TensorRT-RTX cannot be."""
    its_gpu = gpu.pretend_gpu(monkeypatch)
    folder = tmp_path / "both.istvt"
    bundle = gpu.with_engines(tiny_bundle, folder, "tensorrt", compute_capabilities=(86,))
    gpu.with_engines(bundle, tmp_path / "rtx.istvt", "rtx")
    loaded = []

    def load(flavour):
        loaded.append(flavour)
        return its_gpu.tensorrt

    monkeypatch.setattr(engines, "load_tensorrt", load)
    with open_scorer(open_bundle(tmp_path / "rtx.istvt")) as scorer:
        assert scorer.info.backend == "tensorrt_rtx"
    assert set(loaded) == {"rtx"}


@pytest.mark.parametrize(("eager", "strategy"), [(False, None), (True, "eager")])
def test_kernels_are_awaited_where_that_is_asked(
    tiny_bundle, tmp_path, monkeypatch, eager, strategy
):
    its_gpu = gpu.pretend_gpu(monkeypatch)
    bundle = gpu.with_engines(tiny_bundle, tmp_path / "m.istvt", "rtx")
    with open_scorer(bundle, backend="tensorrt_rtx", eager_kernels=eager):
        found = {
            context.config.dynamic_shapes_kernel_specialization_strategy
            for context in its_gpu.tensorrt.contexts
        }
    assert found == {strategy}


@pytest.mark.parametrize("capability", [70, 90])
def test_a_gpu_that_tensorrt_rtx_does_not_know_is_told_or_passed_over(
    tiny_bundle, tmp_path, monkeypatch, caplog, capability
):
    device = FakeDevice(compute_capability=capability)
    gpu.pretend_gpu(monkeypatch, device=device)
    bundle = gpu.with_engines(tiny_bundle, tmp_path / "m.istvt", "rtx", compute_capabilities=())
    told = f"of compute capability 75, 86, 89, 120, and fake has {capability}: use TensorRT"
    with pytest.raises(EngineError, match=told):
        open_scorer(bundle, backend="tensorrt_rtx")
    assert device.is_closed
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    with open_scorer(bundle) as scorer:
        assert scorer.info.backend != "tensorrt_rtx"
    assert [r.levelname for r in caplog.records if told in r.getMessage()] == ["WARNING"]


@pytest.mark.parametrize("backend", gpu.BACKENDS)
def test_the_cpu_is_refused(tiny_bundle, backend):
    with pytest.raises(BackendError, match="--device cuda"):
        open_scorer(tiny_bundle, backend=backend, device="cpu")


@pytest.fixture
def tensorrt_10(monkeypatch):
    library = SimpleNamespace(getInferLibVersion=lambda: 101601)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)


@pytest.mark.usefixtures("tensorrt_10")
def test_the_providers_are_given_the_stream_and_tensorrt_its_batches(tiny_bundle, tmp_path):
    bundle = replace(tiny_bundle, folder=tmp_path)
    cuda = onnxruntime_gpu.provider_options("CUDAExecutionProvider", bundle, stream=77)
    assert cuda == {
        "user_compute_stream": "77",
        "use_tf32": "0",
        "cudnn_conv_algo_search": "HEURISTIC",
    }
    provider = "TensorrtExecutionProvider"
    tensorrt = onnxruntime_gpu.provider_options(provider, bundle, stream=77)
    assert tensorrt["user_compute_stream"] == "77"
    assert tensorrt["trt_engine_cache_enable"] == tensorrt["trt_timing_cache_enable"] == "True"
    assert (tmp_path / "engines" / "onnxruntime-101601").is_dir(), "no engine fits another"
    assert onnxruntime_gpu.profile_options(provider, "faces", 64, (96, 96, 3)) == {
        "trt_profile_min_shapes": "faces:1x96x96x3",
        "trt_profile_opt_shapes": "faces:1x96x96x3",
        "trt_profile_max_shapes": "faces:64x96x96x3",
    }
    assert onnxruntime_gpu.profile_options("CUDAExecutionProvider", "faces", 64, (3,)) == {}


@pytest.mark.parametrize(
    ("precision", "flags"),
    [
        ("fp32", {"trt_fp16_enable": "False"}),
        ("fp16", {"trt_fp16_enable": "True"}),
        ("bf16", {"trt_fp16_enable": "False", "trt_bf16_enable": "True"}),
        ("int8", {"trt_fp16_enable": "True", "trt_int8_enable": "True"}),
    ],
)
@pytest.mark.usefixtures("tensorrt_10")
def test_tensorrts_provider_may_use_the_types_of_the_graphs(
    tiny_bundle, tmp_path, caplog, precision, flags
):
    (tmp_path / "engines").write_text("no folder can be made here")
    bundle = replace(tiny_bundle, folder=tmp_path, precision=precision)
    options = onnxruntime_gpu.provider_options("TensorrtExecutionProvider", bundle, stream=7)
    assert options == {"user_compute_stream": "7", **flags}
    assert "built again at each start" in caplog.text


@pytest.mark.parametrize("is_installed", [True, False])
def test_tensorrts_provider_is_given_the_library_that_pip_installs(
    tiny_bundle, monkeypatch, is_installed
):
    """No loader looks into `tensorrt_libs`; importing it loads what it holds."""
    loaded = []

    def import_libraries(name):
        if not is_installed:
            raise ModuleNotFoundError(name)
        loaded.append(name)

    def load(name):
        if not loaded:
            raise OSError(f"{name}: cannot open shared object file")

    runtime = SimpleNamespace(
        get_available_providers=lambda: [onnxruntime_gpu.TENSORRT_PROVIDER],
        preload_dlls=lambda: loaded.clear(),
    )
    monkeypatch.setattr(onnxruntime_gpu, "require", lambda module, extra: runtime)
    monkeypatch.setattr(onnxruntime_gpu, "import_module", import_libraries)
    monkeypatch.setattr(ctypes, "CDLL", load)
    monkeypatch.setattr(onnxruntime_gpu, "open_device", fail_to_open)
    told = r"needs TensorRT 10, and not 11: libnvinfer\.so\.10: cannot open"
    with pytest.raises(
        BackendError if is_installed else MissingExtraError,
        match="came to the GPU" if is_installed else told,
    ):
        open_scorer(tiny_bundle, backend="onnxruntime-tensorrt", device="cuda")


def test_what_onnx_runtime_prints_does_not_reach_the_results(capsys, caplog):
    caplog.set_level("INFO")
    runtime = SimpleNamespace(preload_dlls=lambda: print("Failed to load\nlibcublasLt"))  # noqa: T201
    onnxruntime_gpu.preload(runtime, onnxruntime_gpu.CUDA_PROVIDER)
    assert capsys.readouterr().out == ""
    assert "ONNX Runtime: Failed to load libcublasLt" in caplog.text


def fail_to_open():
    raise BackendError("came to the GPU")


def test_a_package_for_gpus_serves_a_machine_without_one(tiny_bundle, monkeypatch):
    def missing():
        raise BackendError("there is no NVIDIA driver here")

    names = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: names)
    monkeypatch.setattr(onnxruntime_gpu, "open_device", missing)
    with open_scorer(tiny_bundle, backend="onnxruntime") as scorer:
        assert scorer.info.device == "cpu"
    with pytest.raises(BackendError, match="no NVIDIA driver"):
        open_scorer(tiny_bundle, backend="onnxruntime", device="cuda")


def test_auto_takes_the_engines_where_they_fit(tiny_bundle, tmp_path, monkeypatch):
    gpu.pretend_gpu(monkeypatch)
    bundle = gpu.with_engines(tiny_bundle, tmp_path / "m.istvt", "rtx")
    with open_scorer(bundle) as scorer:
        assert (scorer.info.backend, scorer.info.device) == ("tensorrt_rtx", "cuda")
    other = gpu.with_engines(tiny_bundle, tmp_path / "o.istvt", "rtx", version="1.6.0")
    with open_scorer(other) as scorer:
        assert scorer.info.device == "cpu"


def test_a_version_is_asked_of_what_is_loaded_and_not_of_what_brings_it(monkeypatch):
    """`tensorrt==10.0.1` may bring libraries of 10.1.0 (NVIDIA/TensorRT#3945)."""
    installed = {"tensorrt": "10.0.1", "tensorrt_cu12_bindings": "10.1.0"}

    def version(name):
        if name not in installed:
            raise metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(flavour, "find_spec", lambda name: name)
    monkeypatch.setattr(flavour.metadata, "version", version)
    assert flavour.installed_version("tensorrt") == "10.1.0"
    del installed["tensorrt_cu12_bindings"]
    assert flavour.installed_version("tensorrt") is None, "the library itself is asked"
