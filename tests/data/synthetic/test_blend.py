from dataclasses import replace

import numpy as np
import pytest

from istvt.data.synthetic.blend import (
    SelfBlend,
    blend_clip,
    blend_frame,
    blend_window,
    draw_clip,
)
from istvt.data.synthetic.talking_head import make_clip

MOTIONS = ("shift", "turn", "zoom", "tilt_deg", "mouth", "light", "blinks_per_s", "noise")
STILL = dict.fromkeys(MOTIONS, 0.0)


@pytest.fixture(scope="module")
def clip(portrait, short_clip):
    return list(make_clip(portrait, seed=5, recipe=short_clip))


@pytest.fixture(scope="module")
def still_clip(portrait, short_clip):
    return list(make_clip(portrait, seed=5, recipe=replace(short_clip, **STILL)))


def stack(blended):
    images, masks = zip(*blended, strict=True)
    return np.stack(images).astype(int), np.stack(masks)


def test_a_seed_fixes_the_fake_and_another_one_changes_it(clip):
    first, again, other = (stack(blend_clip(clip, SelfBlend(seed=s))) for s in (1, 1, 2))
    np.testing.assert_array_equal(first[0], again[0])
    assert np.abs(first[0] - other[0]).mean() > 1


@pytest.mark.parametrize("seed", range(8))
def test_the_mask_lies_on_the_face_and_leaves_the_corners(clip, seed):
    recipe = SelfBlend(seed=seed)
    for (_, landmarks), mask in zip(clip, stack(blend_clip(clip, recipe))[1], strict=True):
        assert mask.min() >= 0
        assert mask.max() <= 1
        nose = mask[tuple(np.rint(landmarks[2][::-1]).astype(int))]
        assert nose > 0.9 * mask.max() > 0.2
        assert mask[:4].max() == mask[:, :4].max() == mask[-4:].max() == 0


def test_without_tremble_a_still_clip_gives_a_still_fake(still_clip):
    images, masks = stack(blend_clip(still_clip, SelfBlend(seed=3, jitter=0.0)))
    assert (images == images[0]).all()
    assert (masks == masks[0]).all()


def test_the_tremble_is_the_only_change_in_time_and_stays_in_the_mask(still_clip):
    images, masks = stack(blend_clip(still_clip, SelfBlend(seed=3, jitter=0.02)))
    moving = images.std(axis=0).max(axis=-1) > 0
    reached = masks.max(axis=0) > 0
    assert moving.any()
    assert not (moving & ~reached).any()


def test_where_the_mask_is_empty_the_frame_is_one_of_the_two_copies(clip):
    """Either the real frame, or its changed copy where that one is the target."""
    for seed in range(4):
        images, masks = stack(blend_clip(clip, SelfBlend(seed=seed)))
        real = np.stack([image for image, _ in clip]).astype(int)
        outside = masks == 0
        differs = bool((images[outside] != real[outside]).any())
        drawn = draw_clip(SelfBlend(seed=seed), clip[0][1], np.random.default_rng([seed, 1]))
        assert differs is not drawn.changes_inner


@pytest.mark.parametrize("seed", range(4))
def test_parameters_are_drawn_once_a_clip(clip, seed):
    """With no tremble, the mask and the colour shift of the first frame are those of all."""
    recipe = SelfBlend(seed=seed, jitter=0.0)
    rng = np.random.default_rng([seed, 1])
    drawn = draw_clip(recipe, clip[0][1], rng)
    expected = stack(blend_frame(*frame, drawn, rng=rng) for frame in clip)
    for found, known in zip(stack(blend_clip(clip, recipe)), expected, strict=True):
        np.testing.assert_array_equal(found, known)


def test_frames_without_a_face_pass_unchanged(clip):
    frames = [(clip[0][0], None), *clip[1:3], (clip[3][0], None)]
    images, masks = stack(blend_clip(frames, SelfBlend(seed=0)))
    np.testing.assert_array_equal(images[0], clip[0][0])
    np.testing.assert_array_equal(images[3], clip[3][0])
    assert masks[0].max() == masks[3].max() == 0 < masks[1].max()


def window_of(clip, first=2, num_frames=6):
    images, landmarks = zip(*clip[first : first + num_frames], strict=True)
    return np.stack(images), np.stack(landmarks)


def test_a_window_is_blended_like_a_clip(clip):
    """Drawn once, replayed on every frame: the clip's generator gives the clip's frames."""
    images, landmarks = window_of(clip)
    window = blend_window(images, landmarks, SelfBlend(), np.random.default_rng([4, 1]))
    frames = zip(images, landmarks, strict=True)
    fakes, masks = stack(blend_clip(frames, SelfBlend(seed=4)))
    np.testing.assert_array_equal(window.fakes, fakes)
    np.testing.assert_array_equal(window.masks, masks)
    assert window.masks.dtype == np.float32


@pytest.mark.parametrize("seed", range(6))
def test_fake_and_target_differ_within_the_mask_alone(clip, seed):
    images, landmarks = window_of(clip)
    before = images.copy()
    window = blend_window(images, landmarks, SelfBlend(), np.random.default_rng(seed))
    np.testing.assert_array_equal(images, before)
    differs = (window.fakes != window.targets).any(axis=-1)
    assert not (differs & (window.masks == 0)).any()
    assert differs[window.masks > 0].mean() > 0.3


def test_the_target_is_either_copy_and_both_happen(clip):
    images, landmarks = window_of(clip)
    changed = 0
    for seed in range(12):
        drawn = draw_clip(SelfBlend(), landmarks[0], np.random.default_rng(seed))
        window = blend_window(images, landmarks, SelfBlend(), np.random.default_rng(seed))
        assert (window.targets == images).all() == drawn.changes_inner
        changed += not drawn.changes_inner
    assert 2 < changed < 10


@pytest.mark.parametrize("inner_jitter", [0.0, 1.0])
def test_the_inner_face_trembles_only_where_asked(still_clip, inner_jitter):
    recipe = SelfBlend(jitter=0.03, inner_jitter=inner_jitter, ratios=(1.0,), elastic=0.0)
    images, landmarks = window_of(still_clip)
    window = blend_window(images, landmarks, recipe, np.random.default_rng(3))
    assert (window.masks != window.masks[0]).any()
    core = window.masks.min(axis=0) > 0.999
    assert core.sum() > 100
    moved = np.abs(window.fakes.astype(int) - window.fakes[0])[:, core].max()
    assert moved > 10 if inner_jitter else moved <= 1


def test_without_any_change_the_fake_is_the_real(clip):
    nothing = SelfBlend(
        **dict.fromkeys(("gain", "offset", "saturation", "sharpen", "move", "resize"), 0.0),
        min_downscale=1.0,
        max_downscale=1.0,
    )
    images, landmarks = window_of(clip)
    for seed in range(6):
        window = blend_window(images, landmarks, nothing, np.random.default_rng(seed))
        np.testing.assert_array_equal(window.fakes, images)
        np.testing.assert_array_equal(window.targets, images)


@pytest.mark.parametrize("size_px", [96, 300])
def test_crops_of_real_faces_can_be_blended(media, size_px):
    """In a crop at 1.25 times the face's box the mask keeps off the corners."""
    from istvt.faces.align import crop_square, crop_to_image, cut_face
    from istvt.faces.mtcnn import MtcnnDetector
    from istvt.presets import CropRecipe
    from istvt.video.images import read_image

    image, recipe = read_image(media / "one_portrait.jpg"), CropRecipe(size_px)
    [face] = MtcnnDetector(min_face_px=100).detect(image)
    to_image = np.vstack([crop_to_image(crop_square(face, recipe), size_px), (0, 0, 1)])
    to_crop = np.linalg.inv(to_image)
    landmarks = (face.landmarks @ to_crop[:2, :2].T + to_crop[:2, 2]).astype(np.float32)
    images = np.repeat(cut_face(image, face, recipe)[None], 3, axis=0)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        window = blend_window(images, np.repeat(landmarks[None], 3, axis=0), SelfBlend(), rng)
        share = (window.masks > 0.5 * window.masks.max()).mean()
        assert 0.1 < share < 0.5
        corner = size_px // 10
        assert window.masks[:, :corner, :corner].max() < 1e-6
        assert window.masks[:, -corner:, -corner:].max() < 1e-6
        assert 0.5 < np.abs(window.fakes.astype(int) - window.targets).mean() < 20
