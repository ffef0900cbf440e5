"""One suite for every detector: the contract, and each command's work with nothing but it."""

import copy
import json
import logging
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from istvt.benchmarks.bench import BenchRequest, run_bench
from istvt.benchmarks.report import STAGES
from istvt.bundle.engines import GRAPHS, engine_path, onnx_digests, read_record
from istvt.bundle.manifest import Bundle, ScorePolicy, open_bundle
from istvt.data.dataset import DataRequest, DataSet
from istvt.errors import UsageError
from istvt.export.build import export_run
from istvt.export.engines.builder import EngineOptions
from istvt.faces.track import FaceTracker
from istvt.kernels.functions import DOMAIN
from istvt.models.base import HasAttention, VideoModel
from istvt.models.load import WEIGHTS_FILE, build_model, load_run, load_sample_windows
from istvt.presets import (
    ARCHITECTURES,
    Architecture,
    CropRecipe,
    MesoNetPreset,
    ModelConfig,
)
from istvt.records import Frame
from istvt.runtime.backends.choose import open_scorer
from istvt.runtime.backends.cuda.torch_model import fused, lower_model
from istvt.runtime.hub import Hub
from istvt.runtime.parity import score_windows
from istvt.runtime.pipeline import Pipeline
from istvt.runtime.policy import VerdictPolicy
from istvt.training.fit import Training, fit
from istvt.training.run.recipe import TrainRecipe
from tests import rooms
from tests.fakes import FakeDetector
from tests.training import runs

CONFIGS: dict[Architecture, ModelConfig] = {
    "istvt": replace(runs.CONFIG, preset=replace(runs.PRESET, depth=2)),  # the last has no node
    "mesonet": ModelConfig(MesoNetPreset("small", runs.SIZE_PX, 3), CropRecipe(runs.SIZE_PX)),
}
# The rate is constant, so that a training of one epoch is the first half of one of two.
RECIPE = replace(runs.RECIPE, epochs=2, schedule="constant", ema_decay=0.9)
BACKENDS = {"torch": None, "onnxruntime": "onnxruntime", "openvino": "openvino"}
RTX = EngineOptions("rtx") if find_spec("tensorrt_rtx") else None
TOLERANCES = {"fp32": 1e-4, "bf16": 0.03}  # OpenVINO computes in bf16 where the CPU has it


@pytest.fixture(scope="module", params=ARCHITECTURES)
def architecture(request) -> Architecture:
    return request.param


@pytest.fixture(scope="module")
def config(architecture) -> ModelConfig:
    return CONFIGS[architecture]


@pytest.fixture(scope="module")
def train(config, tmp_path_factory):
    """Train on made-up faces; everything but the videos is real."""
    folder = runs.lay_out(tmp_path_factory.mktemp("data"))
    torch.set_num_threads(1)

    def run(recipe: TrainRecipe = RECIPE, *, out: str = "run", **options) -> Path:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(DataSet, "split", lambda _, split: runs.make_split(folder, split))
            training = Training(config, recipe, **options)
            return fit(DataRequest(folder), folder / out, training).run

    return run


@pytest.fixture(scope="module")
def trained(train) -> Path:
    return train()


@pytest.fixture(scope="module")
def model(trained) -> VideoModel:
    return load_run(trained)[0]


@pytest.fixture(scope="module")
def bundle(trained) -> Bundle:
    return export_run(trained, trained.with_name("model.istvt"), engines=RTX).bundle


@pytest.fixture(scope="module")
def windows(trained) -> np.ndarray:
    return load_sample_windows(trained)


@pytest.fixture(scope="module")
def expected(model, windows) -> np.ndarray:
    with torch.inference_mode():
        return model(torch.from_numpy(windows)).numpy()


def test_the_spec_says_what_the_halves_take_and_give(model, config, architecture):
    spec = model.spec
    assert spec == config.spec == config.preset.spec
    assert spec.architecture == architecture == config.architecture
    faces = torch.randint(0, 256, (5, spec.image_size, spec.image_size, 3), dtype=torch.uint8)
    with torch.inference_mode():
        features = model.encode(faces)
        logits = model.score(features[:3][None].expand(4, *features[:3].shape))
    assert features.shape == (5, *spec.feature_shape)
    assert features[0].numel() == spec.feature_size
    assert logits.shape == (4,)
    assert features.dtype == logits.dtype == torch.float32
    assert model.encode(faces[:0]).shape == (0, *spec.feature_shape)


def test_other_shapes_are_refused(model):
    spec = model.spec
    size, rows = spec.image_size, (spec.num_frames, *spec.feature_shape)
    with pytest.raises(UsageError, match=rf"faces have shape .*{spec.name!r} takes \(n, {size}"):
        model.encode(torch.zeros(1, size + 1, size, 3, dtype=torch.uint8))
    with pytest.raises(UsageError, match="features have shape"):
        model.score(torch.zeros(1, rows[0] + 1, *rows[1:]))
    with pytest.raises(UsageError, match="windows have shape"):
        model(torch.zeros(1, spec.num_frames + 1, size, size, 3, dtype=torch.uint8))


def test_the_halves_are_the_whole(model, windows, expected):
    with torch.inference_mode():
        features = torch.stack([model.encode(torch.from_numpy(window)) for window in windows])
        found = model.score(features)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_rows_of_a_batch_do_not_touch_each_other(model, windows, expected):
    mixed = np.concatenate([windows[:2], 255 - windows[2:5]])
    with torch.inference_mode():
        found = model(torch.from_numpy(mixed)).numpy()
    np.testing.assert_allclose(found[:2], expected[:2], atol=1e-5)
    assert np.abs(found[2:] - expected[2:5]).max() > 1e-3, "the others did change"


def test_evaluation_draws_nothing(model, windows, expected):
    with torch.inference_mode():
        again = model(torch.from_numpy(windows)).numpy()
    np.testing.assert_array_equal(again, expected)


def test_a_mask_counts_frames_or_is_refused(model, windows, architecture):
    with torch.inference_mode():
        features = torch.stack([model.encode(torch.from_numpy(window)) for window in windows])
        every = torch.ones(features.shape[:2], dtype=torch.bool)
        if architecture == "istvt":
            with pytest.raises(UsageError, match="istvt takes no mask"):
                model.score(features, every)
            return
        torch.testing.assert_close(model.score(features, every), model.score(features))
        two = every.clone()
        two[:, 1] = False
        changed = features.clone()
        changed[:, 1] = 1e3
        torch.testing.assert_close(model.score(changed, two), model.score(features, two))
        assert not torch.allclose(model.score(features, two), model.score(features))
        for wrong in (every[:, :2], ~every):
            with pytest.raises(UsageError, match="the mask has shape"):
                model.score(features, wrong)


def test_a_training_learns_and_is_kept(train, trained, config, architecture):
    model, kept = load_run(trained)
    assert kept == config
    assert not model.training
    assert json.loads((trained / "config.json").read_text())["architecture"] == architecture
    assert [line["epoch"] for line in runs.metrics_of(trained)] == [1, 2]
    torch.manual_seed(RECIPE.seed)
    fresh = build_model(config).state_dict()
    moved = [name for name, value in model.state_dict().items() if not value.equal(fresh[name])]
    assert len(moved) > 0.9 * len(fresh)


def test_a_resumed_training_is_the_same_to_the_bit(train, trained):
    train(replace(RECIPE, epochs=1), out="halves")
    torch.manual_seed(77)  # what another process would have
    halves = train(out="halves", resume=True)
    runs.assert_same_run(halves, trained)


def test_a_run_gives_first_weights_to_its_own_kind_alone(train, trained, architecture, tmp_path):
    out = train(replace(RECIPE, epochs=1), out="again", start=str(trained))
    assert json.loads((out / "training.json").read_text())["start"] == str(trained)
    other = CONFIGS["mesonet" if architecture == "istvt" else "istvt"]
    training = Training(other, RECIPE, start=str(trained))
    with pytest.raises(UsageError, match="both must have the same shape"):
        fit(DataRequest(out.parent), tmp_path / "other", training)
    assert not (tmp_path / "other").exists()


def test_what_the_model_lacks_is_told_before_anything_is_written(train, trained, architecture):
    checkpointed = replace(RECIPE, checkpoint_activations=True)
    if architecture == "istvt":
        out = train(checkpointed, out="checkpointed")
        assert (out / WEIGHTS_FILE).read_bytes() == (trained / WEIGHTS_FILE).read_bytes()
        return
    with pytest.raises(UsageError, match=r"mesonet has no blocks.*--checkpoint-activations"):
        train(checkpointed, out="checkpointed")
    with pytest.raises(UsageError, match="mesonet has no weights of ImageNet"):
        train(out="checkpointed", start="imagenet")
    assert not (trained.parent / "checkpointed").exists()


def test_the_bundle_says_what_it_is_and_its_graphs_take_one_input(bundle, config, model):
    assert open_bundle(bundle.folder).config == config
    assert all(step["passed"] for step in bundle.parity)
    assert bundle.parity[0]["origin"] == "held-out windows"
    for path, name in (
        (bundle.encoder, "faces"),
        (bundle.window, "features"),
        (bundle.inlined_window, "features"),
    ):
        graph = onnx.load(path, load_external_data=False)
        assert [value.name for value in graph.graph.input] == [name]
        is_ours = isinstance(model, HasAttention) and path == bundle.window
        assert any(node.domain == DOMAIN for node in graph.graph.node) == is_ours
        assert bool(graph.functions) == is_ours


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_backend_says_the_same(backend, bundle, windows, expected):
    if BACKENDS[backend] and find_spec(BACKENDS[backend]) is None:
        pytest.skip(f"{backend} is not installed")
    with open_scorer(bundle, backend=backend, device="cpu") as scorer:
        assert scorer.info.spec == bundle.config.spec
        found = score_windows(scorer, windows)
        handles = scorer.encode(windows[0])
        assert [np.shape(handle) for handle in handles] == 3 * [bundle.config.spec.feature_shape]
        limit = TOLERANCES[scorer.info.precision] * max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(found, expected, atol=limit)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
def test_a_lower_precision_keeps_the_logits(precision, model, trained, tmp_path, windows, expected):
    # TensorRT-RTX has no attention kernel of that size; of `tiny`, engines are tested elsewhere.
    engines = None if isinstance(model, HasAttention) else RTX
    made = export_run(trained, tmp_path / "low.istvt", precision=precision, engines=engines)
    assert made.bundle.precision == precision
    assert all(step.passed for step in made.parity)
    with open_scorer(open_bundle(made.bundle.folder), backend="onnxruntime", device="cpu") as low:
        found = score_windows(low, windows)
    assert np.abs(found - expected).max() > 1e-6, "the graphs were not lowered"
    np.testing.assert_array_equal(found > 0, expected > 0)
    if engines:
        assert_engines(made.bundle)


def assert_engines(bundle: Bundle) -> None:
    for graph in GRAPHS:
        record = read_record(engine_path(bundle.folder, graph, "rtx"))
        assert record.precision == bundle.precision
        assert record.onnx == onnx_digests(bundle, graph)
        assert record.num_bytes > 10_000


@pytest.mark.skipif(RTX is None, reason="TensorRT-RTX is not installed")
def test_tensorrt_rtx_builds_the_graphs(bundle):
    assert_engines(bundle)


def test_half_precision_on_a_gpu_keeps_the_head_in_fp32(model, windows, expected, caplog):
    lowered = lower_model(torch, copy.deepcopy(model), "bf16")
    assert {parameter.dtype for parameter in lowered.parameters()} == {
        torch.bfloat16,
        torch.float32,
    }
    with torch.inference_mode():
        found = lowered(torch.from_numpy(windows))
    assert found.dtype == torch.float32
    assert 0 < np.abs(found.numpy() - expected).max() < 0.05 * max(1.0, np.abs(expected).max())
    if not isinstance(model, HasAttention):
        with caplog.at_level(logging.WARNING), fused(model):
            pass
        assert caplog.text == "", "there is nothing to fuse, which is no fault"


def test_a_pipeline_streams_with_it(bundle):
    image = np.zeros((160, 200, 3), dtype=np.uint8)
    image[40:80, 40:80] = np.random.default_rng(0).integers(60, 180, (40, 40, 3))
    with open_scorer(bundle, backend="onnxruntime", device="cpu") as scorer:
        pipeline = Pipeline(
            FaceTracker(FakeDetector(), detect_every=1),
            bundle.config,
            verdicts=VerdictPolicy(),
            scores=ScorePolicy(),
        )
        hub = Hub(scorer)
        frames = [Frame(image, number, number / 25, "made") for number in range(6)]
        results = [hub.step([(pipeline, frame)])[0] for frame in frames]
    found = [track.window for result in results for track in result.tracks]
    assert [window is not None for window in found] == 2 * [False] + 4 * [True]
    assert all(np.isfinite(window.logit) for window in found if window is not None)


def test_a_row_of_a_benchmark_is_measured(bundle):
    request = BenchRequest(["onnxruntime"], device="cpu", rounds=1, seconds=0.05)
    report = run_bench(bundle, request)
    assert report.model.architecture == bundle.config.architecture
    for row in report.rows:
        assert row.reason == ""
        assert {stage: row.stages[stage].p50_ms > 0 for stage in STAGES} == dict.fromkeys(
            STAGES, True
        )
    assert report.rows[1].speedup is not None


KNOWS_ISTVT = {
    "training.initial_weights",  # the authors' checkpoints, and ImageNet for Xception
}


def test_only_models_and_kernels_know_istvt_by_class():
    known = rooms.modules()
    knowing = {
        name
        for name, path in known.items()
        if any(other.startswith("models.istvt") for other in rooms.imports_of(path, known))
    }
    assert {name for name in knowing if not name.startswith(("models.", "kernels."))} == KNOWS_ISTVT
