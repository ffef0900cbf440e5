from pathlib import Path

import numpy as np
import pytest

from istvt.data.augment import Augmentation
from istvt.data.manifest import Label, Video
from istvt.data.windows import SplitWindows, WindowDataset, draw_balanced, spread, windows_of
from tests.data.faces import write_faces

SIZE_PX = 32


@pytest.fixture
def make_windows(tmp_path):
    """Windows of three of as many faces as runs are given, each as bright as its row."""

    def make(runs, *, label=Label.REAL, name="v"):
        levels = np.arange(len(runs), dtype=np.uint8)[:, None, None, None]
        images = np.tile(levels, (1, SIZE_PX, SIZE_PX, 3))
        video = Video(Path(f"{name}.mp4"), label, "train")
        return windows_of(write_faces(tmp_path, video, images, runs=runs), 3)

    return make


def rows(refs):
    return [tuple(ref.rows) for ref in refs]


def test_windows_slide_by_one_sampled_frame(make_windows):
    assert rows(make_windows([0] * 5)) == [(0, 1, 2), (1, 2, 3), (2, 3, 4)]


def test_no_window_spans_two_runs(make_windows):
    assert rows(make_windows([0, 0, 1, 1, 1, 2])) == [(2, 3, 4)]
    assert rows(make_windows([0, 1, 1])) == rows(make_windows([0])) == rows(make_windows([])) == []


@pytest.fixture
def split(make_windows):
    real = make_windows([0] * 10, name="r")
    fakes = [make_windows([0] * 8, label=Label.FAKE, name=f"f{i}") for i in range(3)]
    return SplitWindows("train", (real, *fakes), ())


def test_an_epoch_is_half_real_and_half_fake_in_every_batch(split):
    drawn = draw_balanced(split, 4, rng=np.random.default_rng(0))
    assert len(drawn) == 2 * 3 * 4
    assert [ref.label for ref in drawn] == [0, 1] * 12
    assert len({(ref.video.path, ref.rows) for ref in drawn if ref.label}) == 12
    assert len({ref.rows for ref in drawn if not ref.label}) == 4


def test_another_epoch_draws_other_windows(split):
    first, again, other = (
        rows(draw_balanced(split, 4, rng=np.random.default_rng([0, epoch]))) for epoch in (1, 1, 2)
    )
    assert first == again != other


def test_validation_takes_windows_evenly_spread(split):
    starts = [ref.rows[0] for ref in spread(split, 4) if ref.label == 0]
    assert starts == [1, 3, 5, 7]
    assert len(spread(split, None)) == len(spread(split, 99)) == 8 + 3 * 6


def test_the_data_set_gives_crops_in_order_with_their_label(split):
    data = WindowDataset(list(split.videos[1])[2:4])
    faces, label = data[1]
    assert faces.shape == (3, SIZE_PX, SIZE_PX, 3)
    assert faces[:, 0, 0, 0].tolist() == [3, 4, 5]
    assert label.item() == 1.0
    assert len(data) == len(list(data)) == 2


def test_a_windows_change_depends_on_seed_and_position_only(split):
    refs = list(split.videos[1])
    strong = Augmentation(flip=0.5, gain=0.3, offset=60.0, jpeg=0.5)
    first, again, other = (
        WindowDataset(refs, augmentation=strong, seed=seed)[2][0]
        for seed in ((1, 1), (1, 1), (1, 2))
    )
    assert first.equal(again)
    assert not first.equal(other)
