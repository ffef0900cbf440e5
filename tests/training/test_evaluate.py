from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from istvt.data.manifest import Label, Skipped
from istvt.data.windows import SplitWindows
from istvt.model.istvt import ISTVT
from istvt.presets import TINY, CropRecipe, ModelConfig
from istvt.training import evaluate as module
from istvt.training.evaluate import evaluate, score_windows
from tests.data.faces import write_windows

SIZE_PX = 32
PRESET = replace(
    TINY, image_size=SIZE_PX, num_frames=2, embed_dim=16, depth=1, encoder_widths=(4, 4, 8, 8)
)
CONFIG = ModelConfig(PRESET, CropRecipe(SIZE_PX))
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
            videos.append(write_windows(tmp_path, path, images, num_frames=2, label=label))
    return SplitWindows("test", tuple(videos), SKIPPED)


@pytest.fixture
def model():
    torch.manual_seed(1)
    return ISTVT(PRESET)


def test_each_window_is_scored_by_itself_and_in_order(model, split):
    refs = [ref for refs in split.videos for ref in refs]
    scores = score_windows(model, refs, batch_size=5)
    assert not model.training
    for ref, score in zip(refs, scores, strict=True):
        faces = torch.from_numpy(ref.load().images)[None]
        assert score == pytest.approx(model(faces).sigmoid().item(), abs=1e-5)


def test_a_video_is_known_by_its_whole_path_and_scored_by_the_mean(model, split, monkeypatch):
    asked = []
    monkeypatch.setattr(module, "load_split", lambda *args, **_: asked.append(args) or split)
    found = evaluate(Path("data"), model, CONFIG)
    assert asked == [(Path("data"), "test", CONFIG)]
    assert found.videos.count == len(found.fake_probabilities) == 6
    assert found.windows.count == 2 * (3 + 8 + 2)
    assert found.skipped == SKIPPED
    means = {refs.video.path: score_windows(model, list(refs)).mean() for refs in split.videos}
    assert dict(found.fake_probabilities) == pytest.approx(means)


def test_scores_are_computed_in_full_fp32(model, split, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    seen = []
    model.register_forward_hook(lambda *_: seen.append(torch.backends.cudnn.allow_tf32))
    score_windows(model, split.videos[0])
    assert seen == [False]
    assert torch.backends.cudnn.allow_tf32
