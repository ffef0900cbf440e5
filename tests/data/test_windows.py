from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from istvt.data.augment import Augmentation
from istvt.data.crops import VideoCrops
from istvt.data.manifest import Label, Video
from istvt.data.windows import SplitWindows, WindowDataset, draw_balanced, spread, windows_of
from istvt.presets import TINY, CropRecipe, ModelConfig, Sampling

SIZE_PX = 32
CONFIG = ModelConfig(replace(TINY, image_size=SIZE_PX, num_frames=3), CropRecipe(SIZE_PX))


@pytest.fixture
def make_video(tmp_path):
    def make(indices, *, tracks=None, label=Label.REAL, name="v", fps=25.0):
        count = len(indices)
        pixels = tmp_path / f"{name}.rgb"
        levels = np.arange(count, dtype=np.uint8)[:, None, None, None]
        np.broadcast_to(levels, (count, SIZE_PX, SIZE_PX, 3)).tofile(pixels)
        return VideoCrops(
            video=Video(Path(f"{name}.mp4"), label, "train"),
            pixels=pixels,
            size_px=SIZE_PX,
            track_ids=tuple(tracks or [0] * count),
            indices=tuple(indices),
            times_s=tuple(i / fps for i in indices),
            frames_read=count,
            broken=None,
        )

    return make


def rows(refs):
    return [ref.rows for ref in refs]


def test_windows_slide_by_one_sampled_frame(make_video):
    assert rows(windows_of(make_video(range(5)), CONFIG)) == [(0, 1, 2), (1, 2, 3), (2, 3, 4)]


def test_no_window_spans_a_lost_face(make_video):
    assert rows(windows_of(make_video([0, 1, 3, 4, 5]), CONFIG)) == [(2, 3, 4)]


def test_no_window_mixes_tracks(make_video):
    video = make_video(range(6), tracks=[0, 0, 7, 7, 7, 0])
    assert rows(windows_of(video, CONFIG)) == [(2, 3, 4)]


def test_the_sampling_of_the_model_decides_what_a_gap_is(make_video):
    video = make_video([0, 5, 10, 15])
    assert windows_of(video, CONFIG) == ()
    every_fifth = replace(CONFIG, sampling=Sampling(frame_step=5))
    assert len(windows_of(video, every_fifth)) == 2
    by_clock = replace(CONFIG, sampling=Sampling(frame_step=None, sample_fps=5.0))
    assert len(windows_of(video, by_clock)) == 2


@pytest.fixture
def split(make_video):
    real = windows_of(make_video(range(10), name="r"), CONFIG)
    fakes = [
        windows_of(make_video(range(8), label=Label.FAKE, name=f"f{i}"), CONFIG) for i in range(3)
    ]
    return SplitWindows("train", (real, *fakes), ())


def test_an_epoch_is_half_real_and_half_fake_in_every_batch(split):
    drawn = draw_balanced(split, 4, rng=np.random.default_rng(0))
    assert len(drawn) == 2 * 3 * 4
    assert [ref.label for ref in drawn] == [0, 1] * 12
    assert len({(ref.video.video.path, ref.rows) for ref in drawn if ref.label}) == 12
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
    data = WindowDataset(split.videos[1][2:4])
    faces, label = data[1]
    assert faces.shape == (3, SIZE_PX, SIZE_PX, 3)
    assert faces[:, 0, 0, 0].tolist() == [3, 4, 5]
    assert label.item() == 1.0
    assert len(data) == len(list(data)) == 2


def test_a_windows_change_depends_on_seed_and_position_only(split):
    refs = split.videos[1]
    strong = Augmentation(flip=0.5, gain=0.3, offset=60.0, jpeg=0.5)
    first, again, other = (
        WindowDataset(refs, augmentation=strong, seed=seed)[2][0]
        for seed in ((1, 1), (1, 1), (1, 2))
    )
    assert first.equal(again)
    assert not first.equal(other)
