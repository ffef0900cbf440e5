import cv2
import numpy as np
import pytest

from istvt.data.synthetic.blend import SelfBlend, blend_clip
from istvt.data.synthetic.face_mask import MASK_SIDE, draw_mask, face_hull, face_to_image
from istvt.data.synthetic.talking_head import make_clip
from istvt.errors import DataError


@pytest.fixture(scope="module")
def clip(portrait, short_clip):
    return list(make_clip(portrait, seed=5, recipe=short_clip))


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


def test_a_mask_is_soft_and_another_draw_has_another_form(clip):
    landmarks = clip[0][1]
    first, again, other = (
        draw_mask(landmarks, np.random.default_rng(seed), elastic=0.1, feather=(0.03, 0.16))
        for seed in (1, 1, 2)
    )
    assert first.shape == (MASK_SIDE, MASK_SIDE)
    assert first.dtype == np.float32
    assert first.min() == 0
    assert first.max() == pytest.approx(1, abs=1e-3)
    assert ((first > 0.01) & (first < 0.99)).mean() > 0.03
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.5


def test_without_feather_the_edge_is_hard(clip):
    hard = draw_mask(clip[0][1], np.random.default_rng(0), elastic=0.0, feather=(0.0, 0.0))
    assert ((hard > 0.01) & (hard < 0.99)).mean() < 0.03
