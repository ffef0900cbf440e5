"""Epochs and their windows, mostly over faces kept in memory."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from istvt.data.layouts.manifest import Label, Video
from istvt.data.prepared.shards import LoadedFaces
from istvt.data.synthetic.blend import SelfBlend
from istvt.data.windows.augment import PAPER_AUGMENTATION, WindowChange, apply_to_masks, draw_change
from istvt.data.windows.index import SplitWindows, VideoWindows, windows_of
from istvt.data.windows.samples import (
    Sample,
    WindowDataset,
    draw_epoch,
    held_out_samples,
    init_worker,
)
from istvt.errors import DataError, UsageError
from tests.data.faces import LANDMARKS as LANDMARKS_OF_SHARD
from tests.data.faces import write_faces

SIDE_PX, NUM_FRAMES = 48, 3
LANDMARKS = np.array([[17, 19], [31, 19], [24, 27], [19, 34], [29, 34]], np.float32)
IDENTITY = SelfBlend(
    gain=0, offset=0, saturation=0, min_downscale=1, max_downscale=1, sharpen=0, move=0, resize=0
)
EVERYTHING = replace(
    PAPER_AUGMENTATION,
    **dict.fromkeys(
        ("flip", "rotate", "blur", "downscale", "noise", "jpeg", "h264", "cut_out"), 0.8
    ),
)


def make_texture():
    noise = np.random.default_rng(0).uniform(0, 255, (SIDE_PX, SIDE_PX, 3))
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.5)
    return np.clip((smooth - 127) * 3 + 127, 0, 255).astype(np.uint8)


TEXTURE = make_texture()


@dataclass(frozen=True, eq=False)
class Faces:
    """What `VideoFaces` is to windows."""

    video: Video
    count: int

    def __len__(self):
        return self.count

    def load(self, rows):
        images = np.stack([np.roll(TEXTURE, row, axis=0) for row in rows])
        shifts = np.array(rows, np.float32)[:, None, None] * (0, 0.2)
        landmarks = (LANDMARKS + shifts).astype(np.float32)
        return LoadedFaces(images, landmarks, np.zeros((len(rows), 4), np.float32))


def video(name, label, count, method=""):
    record = Video(Path(name), label, "train", method=method)
    return VideoWindows(Faces(record, count + 2), np.arange(count, dtype=np.int32), NUM_FRAMES)


def split(reals=(8,), **fakes):
    """Real videos and, by method, fake ones, each with its number of windows."""
    videos = [video(f"r{i}.mp4", Label.REAL, count) for i, count in enumerate(reals)]
    videos += [
        video(f"{method}{i}.mp4", Label.FAKE, count, method)
        for method, counts in fakes.items()
        for i, count in enumerate(counts)
    ]
    return SplitWindows("train", tuple(videos), ())


def draw(windows, per_video=4, seed=0, **options):
    return draw_epoch(windows, per_video, rng=np.random.default_rng(seed), **options)


def place(sample):
    return sample.ref.video.path, sample.ref.start


counts = st.lists(st.integers(1, 9), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(
    reals=counts,
    methods=st.dictionaries(st.sampled_from("abc"), counts, min_size=1),
    per_video=st.none() | st.integers(1, 6),
    fakes=st.sampled_from(["real", "self-blended", "mixed"]),
    share=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_an_epoch_is_made_of_pairs(reals, methods, per_video, fakes, share, seed):
    windows = split(reals, **methods)
    options = {"fakes": fakes, "blended_share": share}
    samples = draw(windows, per_video, seed, **options)
    assert [sample.label for sample in samples] == [0, 1] * (len(samples) // 2)
    assert [sample.pair for sample in samples] == [i // 2 for i in range(len(samples))]
    per_class = {
        label: sum(min(per_video or len(v), len(v)) for v in windows.videos if v.label == label)
        for label in Label
    }
    longest = per_class[0] if fakes == "self-blended" else max(per_class.values())
    assert len(samples) == 2 * longest
    for real, fake in zip(samples[::2], samples[1::2], strict=True):
        assert real.ref.label == 0
        assert not real.is_blended
        assert not fake.is_target
        assert real.is_target is fake.is_blended
        assert fake.ref == real.ref if fake.is_blended else fake.ref.label == 1
    assert [place(s) for s in samples] == [
        place(s) for s in draw(windows, per_video, seed, **options)
    ]
    # nothing comes twice before all that were drawn came once
    firsts = [place(sample) for sample in samples[: 2 * per_class[0] : 2]]
    assert len(set(firsts)) == len(firsts)
    assert max(Counter(path for path, _ in firsts).values()) <= (per_video or 9)
    by_method = Counter(s.ref.video.method for s in samples[1::2] if not s.is_blended)
    if by_method:
        turns = [by_method.get(method, 0) for method in methods]
        assert max(turns) - min(turns) <= 1


def test_fakes_of_a_rare_method_come_as_often():
    samples = draw(split((20,), rare=(2,), common=(20, 20, 20)), per_video=20)
    methods = Counter(sample.ref.video.method for sample in samples[1::2])
    assert methods == {"rare": 31, "common": 31}


def test_the_shorter_class_is_drawn_anew_and_not_repeated():
    samples = draw(split((40,), a=(40, 40)), per_video=4)
    starts = [sample.ref.start for sample in samples[::2]]
    assert len(starts) == 8
    assert sorted(starts[:4]) != sorted(starts[4:])


def test_another_epoch_draws_other_windows():
    windows = split((9, 9), a=(9, 9))
    first, again, other = (
        [place(sample) for sample in draw(windows, 3, [0, epoch])] for epoch in (1, 1, 2)
    )
    assert first == again != other


def test_the_share_of_blended_fakes_is_the_asked_one():
    windows = split((1000,), a=(1000,))
    for share in (0.0, 0.2, 1.0):
        samples = draw(windows, None, fakes="mixed", blended_share=share)
        assert np.mean([s.is_blended for s in samples[1::2]]) == pytest.approx(share, abs=0.05)


def test_real_videos_alone_suffice_for_blends_only():
    windows = split((5, 5))
    assert len(draw(windows, fakes="self-blended")) == 16
    assert len(held_out_samples(windows, 3, fakes="self-blended")) == 12
    for fakes in ("real", "mixed"):
        for ask in (draw, held_out_samples):
            with pytest.raises(
                DataError, match=r"no fake video of the split 'train'.*self-blended"
            ):
                ask(windows, 4, fakes=fakes)
    with pytest.raises(DataError, match="no real video"):
        draw(split((), a=(5,)))
    with pytest.raises(DataError, match="no real video"):
        draw(split((0,), a=(5,)))
    with pytest.raises(DataError, match="no fake video"):
        draw(split((5,), a=(0,)))


def test_arguments_out_of_range_are_named():
    with pytest.raises(UsageError, match=r"blended_share is 1\.5"):
        draw(split((5,), a=(5,)), fakes="mixed", blended_share=1.5)
    for ask in (draw, held_out_samples):
        with pytest.raises(UsageError, match="per_video is 0"):
            ask(split((5,), a=(5,)), 0)


def test_held_out_windows_are_evenly_spread_and_always_the_same():
    windows = split((8,), a=(8,))
    for fakes in ("real", "mixed"):
        samples = held_out_samples(windows, 4, fakes=fakes)
        assert [(s.label, s.ref.start) for s in samples] == [
            (label, start) for label in (0, 1) for start in (1, 3, 5, 7)
        ]
        assert not any(s.is_blended or s.is_target for s in samples)
    blended = held_out_samples(windows, 4, fakes="self-blended")
    assert [(s.label, s.ref.start) for s in blended] == [
        (label, start) for start in (1, 3, 5, 7) for label in (0, 1)
    ]
    assert [s.video_key for s in blended[:2]] == ["r0.mp4", "r0.mp4 (self-blended)"]


def items(samples, **options):
    return [faces.numpy() for faces, _ in WindowDataset(samples, **options)]


@pytest.fixture
def blended():
    return draw(split((4, 4)), fakes="self-blended")


def test_both_of_a_pair_get_the_same_augmentation(blended):
    """A blend that changes nothing leaves them equal, whatever else happens to them."""
    found = items(blended, augmentation=EVERYTHING, blend=IDENTITY, seed=(3, 1))
    plain = items(blended, blend=IDENTITY)
    for number in range(0, len(found), 2):
        np.testing.assert_array_equal(found[number], found[number + 1])
        assert (found[number] != plain[number]).mean() > 0.3
    assert (found[0] != found[2]).mean() > 0.3


def test_a_blend_is_all_that_tells_a_fake_from_its_real(blended):
    geometry = replace(EVERYTHING, h264=0.0, jpeg=0.0, blur=0.0, downscale=0.0, rotate=0.0)
    for augmentation in (None, geometry):
        data = WindowDataset(blended, augmentation=augmentation, seed=(7,))
        for number in range(0, len(blended), 2):
            (real, _), (fake, _) = data[number], data[number + 1]
            differs = (real != fake).any(dim=-1).numpy()
            masks = data.load_masks(number + 1)
            assert masks.max() <= 1
            assert masks.shape == differs.shape
            assert differs.any()
            assert not (differs & (masks == 0)).any()
            assert not data.load_masks(number).any()


def test_half_of_the_targets_are_changed_and_the_others_are_the_stored_crops():
    samples = draw(split((60,)), None, fakes="self-blended")
    data = WindowDataset(samples)
    same = [
        np.array_equal(data[i][0].numpy(), samples[i].ref.load().images)
        for i in range(0, len(samples), 2)
    ]
    assert 15 < sum(same) < 45


def test_masks_follow_the_augmentation(blended):
    plain = WindowDataset(blended, seed=(5,)).load_masks(1)
    data = WindowDataset(blended, augmentation=EVERYTHING, seed=(5,))
    change = draw_change(EVERYTHING, np.random.default_rng([5, 0, 2]))
    assert change != WindowChange()
    np.testing.assert_array_equal(data.load_masks(1), apply_to_masks(plain, change))


def test_a_fake_of_the_data_has_no_known_mask():
    data = WindowDataset(draw(split((5,), a=(5,))))
    assert data.load_masks(0).shape == (NUM_FRAMES, SIDE_PX, SIDE_PX)
    assert data.load_masks(1) is None


def test_the_order_of_reading_does_not_matter(blended):
    options = {"augmentation": EVERYTHING, "seed": (4,)}
    data = WindowDataset(blended, **options)
    known = items(blended, **options)
    for position in [1, 0, 0, 5, 1, 2, 3, 5, 4]:
        np.testing.assert_array_equal(data[position][0].numpy(), known[position])


def test_an_item_depends_on_sample_and_seed_and_not_on_its_place(blended):
    options = {"augmentation": EVERYTHING, "seed": (2, 5)}
    whole = items(blended, **options)
    chunk = items(blended[4:8], **options)
    for found, known in zip(chunk, whole[4:8], strict=True):
        np.testing.assert_array_equal(found, known)
    other = items(blended, augmentation=EVERYTHING, seed=(2, 6))
    assert all((a != b).any() for a, b in zip(whole, other, strict=True))


def test_workers_give_what_one_process_gives(blended):
    data = WindowDataset(blended, augmentation=EVERYTHING, seed=(1,))
    loader = DataLoader(data, batch_size=4, num_workers=2, worker_init_fn=init_worker)
    faces, labels = (torch.cat(parts) for parts in zip(*loader, strict=True))
    np.testing.assert_array_equal(faces.numpy(), np.stack(items(blended, **vars_of(data))))
    assert labels.tolist() == [0.0, 1.0] * (len(blended) // 2)


def vars_of(data):
    return {"augmentation": data.augmentation, "blend": data.blend, "seed": data.seed}


def test_without_augmentation_an_item_is_what_was_stored():
    [real, fake] = draw(split((1,), a=(1,)))
    data = WindowDataset([real, fake])
    for (faces, label), sample in zip(data, (real, fake), strict=True):
        np.testing.assert_array_equal(faces.numpy(), sample.ref.load().images)
        assert faces.dtype == torch.uint8
        assert label.item() == sample.label
    assert len(data) == 2


def test_a_sample_of_a_fake_video_is_fake_without_a_blend():
    [_, fake] = draw(split((1,), a=(1,)))
    assert Sample(fake.ref, 0).label == 1


def test_windows_are_read_from_shards_and_blended_by_their_landmarks(tmp_path):
    images = np.stack([np.roll(TEXTURE, row, axis=0) for row in range(6)])
    record = Video(Path("r.mp4"), Label.REAL, "test")
    windows = windows_of(write_faces(tmp_path, record, images, runs=[0] * 6), NUM_FRAMES)
    samples = held_out_samples(SplitWindows("test", (windows,), ()), None, fakes="self-blended")
    assert len(samples) == 2 * 4
    data = WindowDataset(samples, blend=replace(IDENTITY, ratios=(1.0,)))
    for position, (faces, label) in enumerate(data):
        start = position // 2
        np.testing.assert_array_equal(faces.numpy(), images[start : start + NUM_FRAMES])
        assert label.item() == position % 2
    left_eye, nose = (np.rint(LANDMARKS_OF_SHARD[i] * SIDE_PX).astype(int) for i in (0, 2))
    masks = data.load_masks(1)
    assert masks[:, left_eye[1], left_eye[0]].min() > 0.5
    assert masks[:, nose[1], nose[0]].min() > 0.9
