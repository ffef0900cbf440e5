import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from istvt.errors import UsageError
from istvt.faces.align import crop_square, crop_to_image, cut_face
from istvt.presets import CropRecipe
from istvt.records import Face

RECIPE = CropRecipe(size_px=96)
LANDMARKS = np.array([[-15, -18], [15, -18], [0, 0], [-12, 18], [12, 18]], np.float32)


def make_face(x, y, *, width=60.0, height=80.0, tilt=0.0):
    turn = np.array([[math.cos(tilt), -math.sin(tilt)], [math.sin(tilt), math.cos(tilt)]])
    centre = np.array([x, y])
    half = np.array([width, height]) / 2
    box = np.hstack([centre - half, centre + half]).astype(np.float32)
    landmarks = LANDMARKS * (height / 80) @ turn.T + centre
    return Face(box, landmarks.astype(np.float32), 1.0)


def in_crop(face, recipe):
    """The landmarks' places in the crop."""
    affine = crop_to_image(crop_square(face, recipe), recipe.size_px).astype(float)
    return (face.landmarks - affine[:, 2]) @ np.linalg.inv(affine[:, :2]).T


faces = st.builds(
    make_face,
    st.floats(-50, 700),
    st.floats(-50, 500),
    width=st.floats(20, 300),
    height=st.floats(20, 300),
    tilt=st.floats(-3, 3),
)
recipes = st.builds(
    CropRecipe, size_px=st.integers(32, 300), scale=st.floats(1, 2), align=st.booleans()
)


@given(faces, recipes)
def test_nose_is_central_and_eyes_are_level(face, recipe):
    left_eye, right_eye, nose, *_ = in_crop(face, recipe)
    np.testing.assert_allclose(nose, (recipe.size_px - 1) / 2, atol=0.05)
    if recipe.align:
        assert abs(left_eye[1] - right_eye[1]) < 0.1
        assert left_eye[0] < right_eye[0]


@given(faces, recipes)
def test_square_is_a_multiple_of_the_larger_side(face, recipe):
    affine = crop_to_image(crop_square(face, recipe), recipe.size_px)
    larger = max(face.box_xyxy[2:] - face.box_xyxy[:2])
    side = math.hypot(affine[0, 0], affine[1, 0]) * recipe.size_px
    assert side == pytest.approx(recipe.scale * larger, rel=1e-3)


@given(faces, st.floats(-3, 3))
def test_landmarks_in_the_crop_do_not_depend_on_the_tilt(face, tilt):
    width, height = (float(side) for side in face.box_xyxy[2:] - face.box_xyxy[:2])
    x, y = face.landmarks[2]
    turned = make_face(x, y, width=width, height=height, tilt=tilt)
    np.testing.assert_allclose(in_crop(turned, RECIPE), in_crop(face, RECIPE), atol=0.1)


def test_unaligned_crop_keeps_the_tilt():
    left_eye, right_eye, *_ = in_crop(make_face(200, 200, tilt=0.3), CropRecipe(96, align=False))
    slope = math.atan2(right_eye[1] - left_eye[1], right_eye[0] - left_eye[0])
    assert slope == pytest.approx(0.3, abs=1e-3)


def smooth_picture(*, x=320.0, y=240.0, zoom=1.0, tilt=0.0):
    """Waves about a point, so that the picture moves, turns and grows with the face."""
    rows, columns = np.mgrid[0:480, 0:640].astype(float)
    dx, dy = (columns - x) / zoom, (rows - y) / zoom
    u = math.cos(tilt) * dx + math.sin(tilt) * dy
    v = -math.sin(tilt) * dx + math.cos(tilt) * dy
    waves = [np.sin(u / 15), np.cos(v / 19 + 1), np.sin((u + v) / 23)]
    return (127.5 + 100 * np.stack(waves, 2)).round().astype(np.uint8)


@settings(deadline=None, max_examples=25)
@given(
    x=st.floats(250, 390), y=st.floats(200, 280), zoom=st.floats(0.6, 1.8), tilt=st.floats(-3, 3)
)
def test_crop_follows_the_face_wherever_it_is(x, y, zoom, tilt):
    wanted = cut_face(smooth_picture(), make_face(320, 240), RECIPE).astype(int)
    face = make_face(x, y, width=60 * zoom, height=80 * zoom, tilt=tilt)
    found = cut_face(smooth_picture(x=x, y=y, zoom=zoom, tilt=tilt), face, RECIPE).astype(int)
    assert np.abs(found - wanted).max() <= 6


def test_large_face_does_not_alias():
    """Stripes finer than the crop's pixels must come out grey, not as broad stripes."""
    stripes = np.zeros((1200, 1200, 3), np.uint8)
    stripes[:, ::2] = 255
    crop = cut_face(stripes, make_face(600, 600, width=700, height=700), CropRecipe(96))
    assert np.abs(crop.astype(int) - 127).max() < 25
    naive = cv2.resize(stripes[162:1037, 162:1037], (96, 96), interpolation=cv2.INTER_LINEAR)
    assert np.abs(naive.astype(int) - 127).max() > 100


def test_beyond_the_border_the_last_pixels_go_on():
    picture = np.full((200, 200, 3), (10, 120, 250), np.uint8)
    crop = cut_face(picture, make_face(5, 195), RECIPE)
    assert (crop == (10, 120, 250)).all()


def test_real_face_is_upright_and_central(detector, frames):
    image = frames("one_portrait.jpg")[0].image
    turn = cv2.getRotationMatrix2D((450, 400), 25, 1.0)
    turned = np.ascontiguousarray(cv2.warpAffine(image, turn, image.shape[1::-1]))
    crops = [
        cut_face(picture, detector.detect(picture)[0], CropRecipe(200))
        for picture in (image, turned)
    ]
    assert [crop.shape for crop in crops] == [(200, 200, 3)] * 2
    for crop in crops:
        left_eye, right_eye, nose, *_ = detector.detect(crop)[0].landmarks
        assert abs(right_eye[1] - left_eye[1]) < 8
        assert np.abs(nose - 99.5).max() < 8


@pytest.mark.parametrize("box", [[10, 10, 10, 10], [20, 20, 10, 10], [0, 0, np.nan, 5]])
def test_empty_boxes_are_refused(box):
    face = Face(np.array(box, np.float32), LANDMARKS, 1.0)
    with pytest.raises(UsageError, match="box"):
        cut_face(np.zeros((50, 50, 3), np.uint8), face, RECIPE)
