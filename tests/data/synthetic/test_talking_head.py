from dataclasses import replace

import cv2
import numpy as np
import pytest

from istvt.data.synthetic.talking_head import Portrait, cut_portrait, make_clip, smooth_walk
from istvt.errors import DataError


def stack(clip):
    images, landmarks = zip(*clip, strict=True)
    return np.stack(images), np.stack(landmarks)


def test_a_seed_fixes_every_pixel_and_another_one_changes_them(portrait, short_clip):
    first, again, other = (
        stack(make_clip(portrait, seed=seed, recipe=short_clip)) for seed in (3, 3, 4)
    )
    assert first[0].shape == (12, 128, 128, 3)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert np.abs(first[1] - other[1]).max() > 0.5


def test_landmarks_are_carried_to_where_the_warps_put_them(portrait, short_clip):
    """Dots drawn on the canvas must be seen where the carried landmarks say."""
    lively = replace(short_clip, noise=0.0, light=0.0, shift=0.2, turn=0.12, tilt_deg=8.0)
    for number, point in enumerate(portrait.landmarks):
        rows, columns = np.indices(portrait.image.shape[:2])
        squared = (columns - point[0]) ** 2 + (rows - point[1]) ** 2
        dot = np.exp(-squared / 8) * 255
        canvas = np.repeat(dot[..., None], 3, axis=2).astype(np.uint8)
        for image, landmarks in make_clip(
            Portrait(canvas, portrait.landmarks), seed=7, recipe=lively
        ):
            weights = image[..., 0].astype(float)
            seen = [(weights * axis).sum() / weights.sum() for axis in np.indices(weights.shape)]
            assert landmarks[number] == pytest.approx(seen[::-1], abs=0.6)


def test_the_head_moves_smoothly(portrait, short_clip):
    silent = replace(short_clip, num_frames=50, mouth=0.0)
    _, landmarks = stack(make_clip(portrait, seed=1, recipe=silent))
    steps = np.linalg.norm(np.diff(landmarks[:, 2], axis=0), axis=1)
    jerks = np.linalg.norm(np.diff(landmarks[:, 2], n=2, axis=0), axis=1)
    assert 0.05 < steps.mean() < 2.0
    assert jerks.mean() < 0.3 * steps.mean()


def test_a_walk_has_unit_variance_and_nothing_fast_in_it():
    walks = smooth_walk(np.random.default_rng(0), 64, 400, 25.0, cutoff_hz=2.0)
    assert walks.std() == pytest.approx(1.0, abs=0.05)
    spectrum = np.abs(np.fft.rfft(walks * np.hanning(64)[:, None], axis=0)) ** 2
    fast = np.fft.rfftfreq(64, 1 / 25.0) > 3.5
    assert spectrum[fast].sum() < 1e-3 * spectrum.sum()


def test_noise_is_of_the_asked_size(portrait, short_clip):
    still = replace(
        short_clip, shift=0, turn=0, zoom=0, tilt_deg=0, mouth=0, light=0, blinks_per_s=0, noise=3
    )
    images, _ = stack(make_clip(portrait, seed=0, recipe=still))
    spread = images.astype(float).std(axis=0, ddof=1)
    assert np.median(spread) == pytest.approx(3.0, rel=0.1)


@pytest.mark.parametrize("count", [0, 2])
def test_a_portrait_has_one_face(astronaut, face, count):
    with pytest.raises(DataError, match=f"me.jpg holds {count} faces"):
        cut_portrait(astronaut, [face] * count, name="me.jpg", size_px=128)


def test_the_canvas_holds_the_face_where_its_landmarks_say(astronaut, face, portrait):
    """Mapping the canvas back by its landmarks must give the picture again."""
    back = cv2.estimateAffinePartial2D(portrait.landmarks, face.landmarks)[0]
    height, width = astronaut.shape[:2]
    restored = cv2.warpAffine(portrait.image, back, (width, height))
    left, top, right, bottom = face.box_xyxy.astype(int)
    inside = np.s_[top:bottom, left:right]
    error = np.abs(restored[inside].astype(float) - astronaut[inside]).mean()
    assert error < 8  # the canvas is half as large, so detail is lost; half a px off gives 10.6
