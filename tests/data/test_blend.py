from dataclasses import replace

import cv2
import numpy as np
import pytest

from istvt.data.blend import SelfBlend, blend_clip, blend_frame, draw_clip
from istvt.data.face_mask import face_hull, face_to_image
from istvt.data.synthetic import make_clip
from istvt.errors import DataError

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


def test_the_hull_is_convex_and_holds_all_landmarks(clip):
    for _, landmarks in clip:
        hull = face_hull(landmarks)
        assert cv2.isContourConvex(hull)
        to_face = np.linalg.inv(face_to_image(landmarks))
        for point in landmarks @ to_face[:2, :2].T + to_face[:2, 2]:
            assert cv2.pointPolygonTest(hull, tuple(map(float, point)), True) >= -1e-5


def test_face_coordinates_put_eyes_and_mouth_where_they_belong(clip):
    landmarks = clip[0][1]
    matrix = face_to_image(landmarks)
    placed = [(matrix @ (x, y, 1))[:2] for x, y in ((-0.5, 0), (0.5, 0), (0, 1))]
    np.testing.assert_allclose(placed[:2], landmarks[:2], rtol=1e-5)
    np.testing.assert_allclose(placed[2], landmarks[3:].mean(axis=0), rtol=1e-5)


def test_landmarks_on_one_line_are_refused(clip):
    with pytest.raises(DataError, match="span no face"):
        list(blend_clip([(clip[0][0], np.ones((5, 2), np.float32))], SelfBlend()))
