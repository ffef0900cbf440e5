from dataclasses import replace

import cv2
import numpy as np
import pytest

from istvt.data.layouts.choose import read_layout
from istvt.data.synthetic.blend import blend_clip
from istvt.data.synthetic.generate import (
    DEFAULT_BLEND,
    DatasetSize,
    SplitSize,
    find_portraits,
    make_dataset,
    read_masks,
)
from istvt.data.synthetic.talking_head import ClipRecipe, make_clip
from istvt.errors import DataError, UnreadableSourceError
from istvt.video.source import open_source

SMALL = DatasetSize(train=SplitSize(2, 5), val=SplitSize(1, 5), test=SplitSize(1, 8))
CLIP = ClipRecipe(size_px=128)


def images(path):
    with open_source(path) as source:
        return np.stack([frame.image for frame in source]).astype(int)


@pytest.fixture(scope="module")
def made(tmp_path_factory, portrait):
    seen = []
    folder = tmp_path_factory.mktemp("made") / "data"
    make_dataset(folder, [portrait], size=SMALL, clip=CLIP, progress=lambda *a: seen.append(a))
    assert seen == [("clips", done, 4) for done in (1, 2, 3, 4)]
    return folder


def test_the_layout_is_the_plain_one(made):
    assert len(read_layout(made).videos) == 8
    assert {path.name for path in made.iterdir()} == {"train", "val", "test", "masks"}
    assert len(images(made / "test" / "fake" / "0000.mp4")) == 8


def test_a_fake_moves_like_its_real_partner_and_differs_in_the_face(made):
    real, fake = (images(made / "train" / kind / "0000.mp4") for kind in ("real", "fake"))
    other = images(made / "train" / "real" / "0001.mp4")
    assert 1 < np.abs(real - fake).mean() < np.abs(real - other).mean()


def test_the_blending_masks_of_the_fakes_are_kept(made, portrait):
    masks = read_masks(made / "test" / "fake" / "0000.mp4")
    assert masks.shape == (8, 32, 32)
    assert masks.dtype == np.float32
    frames = make_clip(portrait, seed=3, recipe=replace(CLIP, num_frames=8))
    for stored, (_, mask) in zip(
        masks, blend_clip(frames, replace(DEFAULT_BLEND, seed=3)), strict=True
    ):
        assert mask.max() > 0.5
        small = cv2.resize(mask, (32, 32), interpolation=cv2.INTER_AREA)
        np.testing.assert_allclose(stored, small, atol=0.51 / 255)
    for without in ("test/real/0000.mp4", "test/fake/0007.mp4"):
        with pytest.raises(DataError, match="has no masks: expected"):
            read_masks(made / without)


def test_no_clip_is_in_two_splits(made):
    clips = [images(path)[:5] for path in sorted(made.glob("*/real/*.mp4"))]
    for number, clip in enumerate(clips):
        for other in clips[number + 1 :]:
            assert np.abs(clip - other).mean() > 2


def test_the_seed_fixes_the_clips(made, portrait, tmp_path):
    same, other = tmp_path / "same", tmp_path / "other"
    make_dataset(same, [portrait], size=SMALL, clip=CLIP)
    make_dataset(other, [portrait], size=SMALL, clip=CLIP, seed=1)
    for kind in ("real", "fake"):
        name = f"train/{kind}/0001.mp4"
        np.testing.assert_array_equal(images(made / name), images(same / name))
        assert np.abs(images(made / name) - images(other / name)).mean() > 2
    masks = "masks/train/0001.npz"
    assert (made / masks).read_bytes() == (same / masks).read_bytes()


def test_a_folder_with_content_is_left_alone(portrait, tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(DataError, match="is not empty"):
        make_dataset(tmp_path, [portrait], size=SMALL, clip=CLIP)
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_a_broken_off_making_leaves_nothing(portrait, tmp_path):
    def interrupt(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_dataset(tmp_path / "data", [portrait], size=SMALL, clip=CLIP, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_three_portraits_keep_people_apart(astronaut, face, tmp_path):
    from istvt.data.synthetic.generate import _share_out

    people = [object() for _ in range(7)]
    shared = _share_out(people)
    assert sorted(map(id, people)) == sorted(id(p) for part in shared.values() for p in part)
    assert all(shared.values())


def test_portraits_are_read_as_rgb_and_need_one_face(astronaut, face, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), astronaut[..., ::-1])
    seen = []

    def detect(image):
        seen.append(image)
        return [face]

    [portrait] = find_portraits(tmp_path, detect=detect, size_px=128)
    np.testing.assert_array_equal(seen[0], astronaut)
    [own] = find_portraits(None, detect=detect, size_px=128)
    np.testing.assert_array_equal(own.image, portrait.image)
    with pytest.raises(DataError, match=r"a.png holds 0 faces"):
        find_portraits(tmp_path, detect=lambda image: [])


def test_pictures_that_are_none_are_named(tmp_path):
    with pytest.raises(DataError, match="holds no picture"):
        find_portraits(tmp_path, detect=lambda image: [])
    (tmp_path / "b.jpg").write_bytes(b"not a picture")
    with pytest.raises(UnreadableSourceError, match=r"b.jpg: not an image"):
        find_portraits(tmp_path, detect=lambda image: [])
    with pytest.raises(DataError, match="not a folder"):
        find_portraits(tmp_path / "b.jpg", detect=lambda image: [])
