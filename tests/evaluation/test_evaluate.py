from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from istvt.data import dataset
from istvt.data.dataset import DataRequest, DataSet
from istvt.data.layouts.manifest import Label, Manifest, Skipped, Video
from istvt.data.prepared.face_recipe import FaceRecipe
from istvt.data.prepared.folder import Prepared, Unread, digest_of_entries
from istvt.data.synthetic.blend import SelfBlend
from istvt.data.windows.index import SplitWindows
from istvt.data.windows.samples import WindowDataset, held_out_samples
from istvt.errors import DataError, DeviceMemoryError
from istvt.evaluation import evaluate as module
from istvt.evaluation.evaluate import EvaluatedData, evaluate, evaluate_windows, judge
from istvt.evaluation.scores import Scoring, score_logits, sigmoid
from istvt.models.istvt.model import ISTVT
from istvt.presets import TINY, CropRecipe, ModelConfig, Sampling
from tests.data.faces import write_windows
from tests.data.layouts.trees import make_folder, note_listings

SIZE_PX = 32
PRESET = replace(
    TINY, image_size=SIZE_PX, num_frames=2, embed_dim=16, depth=1, encoder_widths=(4, 4, 8, 8)
)
CONFIG = ModelConfig(PRESET, CropRecipe(SIZE_PX))
DATA, FIVE = DataRequest(Path("data")), Scoring(batch_size=5)
SKIPPED = (Skipped(Path("dark.mp4"), "no face in 9 frames"),)


@pytest.fixture
def split(tmp_path):
    """Real and fake videos of the same names, of different lengths."""
    rng = np.random.default_rng(0)
    videos = []
    for number, count in enumerate((4, 9, 3)):
        for label in Label:
            path = Path(label.name.lower()) / f"{number}.mp4"
            images = rng.integers(0, 256, (count, SIZE_PX, SIZE_PX, 3), dtype=np.uint8)
            videos.append(
                write_windows(tmp_path, path, images, num_frames=2, label=label, split="test")
            )
    return SplitWindows("test", tuple(videos), SKIPPED)


@pytest.fixture
def opened(split, monkeypatch):
    """Serve the split in place of videos, and note the data sets whose faces are asked for."""
    dark = Unread(Video(Path("dark.mp4"), Label.REAL, "test"), SKIPPED[0].reason)
    entries = (*(windows.faces for windows in split.videos), dark)
    manifest = Manifest(Path("set"), "folder", tuple(entry.video for entry in entries))
    recipe = FaceRecipe(CropRecipe(SIZE_PX), Sampling(), num_frames=2)
    asked = []

    def serve(opened, split):
        asked.append((opened, split))
        return Prepared(Path("set"), recipe, manifest, entries)

    monkeypatch.setattr(DataSet, "faces", serve)
    monkeypatch.setattr(dataset, "read_layout", lambda *_, **__: manifest)
    return SimpleNamespace(asked=asked, manifest=manifest, entries=entries)


@pytest.fixture
def model():
    torch.manual_seed(1)
    return ISTVT(PRESET)


class Crew:
    """Some processes, played one after another; the last one sees what the others gave."""

    def __init__(self, world):
        self.world, self.rank, self.parts = world, 0, []

    def share(self, count):
        return range(self.rank, count, self.world)

    def gather(self, own, count):
        assert len(own) == len(self.share(count))
        self.parts.append(own)
        if len(self.parts) < self.world:
            return np.zeros(count)
        whole = np.full(count, np.nan)
        for rank, part in enumerate(self.parts):
            whole[rank :: self.world] = part
        return whole


def play(world, work):
    crew = Crew(world)
    for crew.rank in range(world):
        result = work(crew)
    return result


def test_each_window_is_scored_by_itself_and_in_order(model, split):
    samples = held_out_samples(split, None)
    scores = sigmoid(score_logits(model, samples, FIVE))
    assert not model.training
    for sample, score in zip(samples, scores, strict=True):
        faces = torch.from_numpy(sample.ref.load().images)[None]
        assert score == pytest.approx(model(faces).sigmoid().item(), abs=1e-5)


@pytest.mark.parametrize("world", [2, 3, 4, 40])
def test_many_processes_score_each_window_once_and_in_order(model, split, world):
    """26 windows: shares of unequal length, and more processes than windows."""
    samples = held_out_samples(split, None)
    alone = score_logits(model, samples, FIVE)
    calls = []
    model.register_forward_hook(lambda _, faces, __: calls.append(len(faces[0])))
    shared = play(world, lambda crew: score_logits(model, samples, FIVE, team=crew))
    assert shared == pytest.approx(alone, abs=1e-5)
    assert sum(calls) == len(samples) == 26


def test_many_processes_measure_what_one_does(model, split):
    alone = evaluate_windows(model, split, Scoring(2))
    shared = play(3, lambda crew: evaluate_windows(model, split, Scoring(2), team=crew))
    assert vars(shared.windows) == pytest.approx(vars(alone.windows), abs=1e-5)
    assert vars(shared.videos) == pytest.approx(vars(alone.videos), abs=1e-5)
    assert shared.loss == pytest.approx(alone.loss, abs=1e-6)


def test_a_video_is_known_by_its_whole_path_and_scored_by_the_mean(model, split, opened):
    found, _ = evaluate(DATA, model, CONFIG)
    ((data, asked),) = opened.asked
    assert (data.request, data.splits, asked) == (DATA, ("test",), "test")
    assert data.recipe == FaceRecipe.of_model(CONFIG)
    assert found.videos.count == len(found.scores) == 6
    assert found.windows.count == len(found.fake_probabilities) == 2 * (3 + 8 + 2)
    assert found.skipped == SKIPPED
    for score, windows in zip(found.scores, split.videos, strict=True):
        own = [s for s in held_out_samples(split, None) if s.ref.video == windows.video]
        assert score.video == windows.video
        assert (score.windows, score.label) == (len(windows), windows.label)
        assert score.fake_probability == pytest.approx(sigmoid(score_logits(model, own)).mean())


@pytest.mark.parametrize("fakes", ["real", "self-blended"])
def test_the_fakes_of_the_data_are_read_where_they_are_used(model, opened, fakes):
    evaluate(DATA, model, CONFIG, scoring=Scoring(fakes=fakes, windows_per_video=1))
    assert [data.with_fakes for data, _ in opened.asked] == [fakes == "real"]


def test_what_was_measured_on_is_given(model, split, opened):
    _, data = evaluate(DATA, model, CONFIG, scoring=Scoring(windows_per_video=1))
    assert (data.root, data.layout, data.compressions) == (Path("set"), "folder", ())
    assert data.videos == tuple(windows.faces for windows in split.videos)
    assert data.digest == digest_of_entries(opened.entries, Path("set"))


def test_compression_and_methods_are_those_of_the_videos(split, opened):
    def moved(windows):
        method = "Deepfakes" if windows.label else ""
        path = Path("set") / (method or "youtube") / "c40" / "videos" / windows.video.path.name
        video = replace(windows.video, path=path, method=method)
        return replace(windows, faces=replace(windows.faces, video=video))

    windows = replace(split, videos=tuple(map(moved, split.videos)))
    manifest = replace(opened.manifest, layout="ffpp")
    recipe = FaceRecipe(CropRecipe(SIZE_PX), Sampling(), num_frames=2)
    entries = tuple(one.faces for one in windows.videos)
    data = EvaluatedData.of(Prepared(Path("set"), recipe, manifest, entries), windows)
    assert (data.compressions, data.methods) == (("c40",), ("Deepfakes",))


def test_a_missing_class_is_told_before_a_video_is_read(model, opened, monkeypatch):
    reals = tuple(video for video in opened.manifest.videos if video.label == Label.REAL)
    manifest = replace(opened.manifest, videos=reals)
    monkeypatch.setattr(dataset, "read_layout", lambda *_, **__: manifest)
    with pytest.raises(DataError, match="no video in test/fake"):
        evaluate(DATA, model, CONFIG)
    assert opened.asked == []


def test_an_evaluation_lists_its_split_once(model, opened, tmp_path, monkeypatch):
    monkeypatch.undo()
    data, listed = make_folder(tmp_path / "raw"), note_listings(monkeypatch)
    prepared = Prepared(data, FaceRecipe.of_model(CONFIG), opened.manifest, opened.entries)
    monkeypatch.setattr(dataset, "prepare", lambda *_, **__: prepared)
    evaluate(DataRequest(data), model, CONFIG, scoring=Scoring(1))
    parts = [path for path in listed if path != data]
    assert parts == [data / "test", data / "test" / "real", data / "test" / "fake"]


def test_a_gpu_that_fails_is_told(model, opened, monkeypatch):
    def fail(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(module, "score_logits", fail)
    with pytest.raises(DeviceMemoryError, match=r"8 windows a batch .* a smaller --batch-size"):
        evaluate(DATA, model, CONFIG, scoring=Scoring(batch_size=8))


def test_the_loss_is_that_of_torch(model, split):
    samples = held_out_samples(split, None)
    labels = torch.tensor([float(sample.label) for sample in samples], dtype=torch.float64)
    for scale in (1.0, 1e4):  # the second is beyond what a probability could hold
        logits = scale * np.linspace(-2, 1, len(samples))
        expected = torch.nn.functional.binary_cross_entropy_with_logits(
            torch.from_numpy(logits), labels
        )
        found = judge(samples, logits, split="test")
        assert found.loss == pytest.approx(expected.item())
        assert found.fake_probabilities == pytest.approx(torch.from_numpy(logits).sigmoid().numpy())


def test_without_fakes_each_real_video_is_judged_against_its_blends(model, split):
    reals = SplitWindows("val", tuple(v for v in split.videos if v.label == 0), ())
    found = evaluate_windows(model, reals, Scoring(2, fakes="self-blended"))
    assert (found.windows.count, found.videos.count) == (12, 6)
    assert sorted((s.label, s.method) for s in found.scores) == (
        [(0, "")] * 3 + [(1, "self-blended")] * 3
    )
    samples = held_out_samples(reals, 2, fakes="self-blended")
    faces = torch.stack([faces for faces, _ in WindowDataset(samples)])
    with torch.no_grad():
        expected = model(faces).sigmoid().numpy()
    assert found.fake_probabilities == pytest.approx(expected, abs=1e-5)
    with pytest.raises(DataError, match="no fake video"):
        evaluate_windows(model, reals, Scoring(2))


def test_held_out_blends_are_of_the_recipe_that_is_named(model, opened):
    asked = Scoring(1, fakes="self-blended")
    faint = SelfBlend(ratios=(0.0,))  # nothing is blended in: the fakes are their own targets
    found, _ = evaluate(DATA, model, CONFIG, scoring=replace(asked, blend=faint))
    assert found.windows.auc == 0.5
    usual, _ = evaluate(DATA, model, CONFIG, scoring=asked)
    assert len(set(usual.fake_probabilities)) > len(set(found.fake_probabilities))


def test_a_measurement_leaves_the_random_numbers_of_a_training_alone(model, split):
    before = torch.get_rng_state()
    evaluate_windows(model, split, Scoring(1))
    assert torch.equal(before, torch.get_rng_state())


def test_scores_are_computed_in_full_fp32(model, split, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    seen = []
    model.register_forward_hook(lambda *_: seen.append(torch.backends.cudnn.allow_tf32))
    score_logits(model, held_out_samples(split, 1))
    assert seen == [False]
    assert torch.backends.cudnn.allow_tf32
