import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from istvt.faces import boxes as bx

coordinates = st.floats(0, 100, width=32)


@st.composite
def scored_boxes(draw):
    count = draw(st.integers(0, 12))
    corners = draw(arrays(np.float32, (count, 2), elements=coordinates))
    wh = draw(arrays(np.float32, (count, 2), elements=st.floats(1, 60, width=32)))
    scores = np.linspace(0.99, 0.5, count, dtype=np.float32)
    order = draw(st.permutations(range(count)))
    return np.hstack([corners, corners + wh]), scores[order]


def test_iou_of_known_boxes():
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]], np.float32)
    np.testing.assert_allclose(
        bx.iou(boxes, boxes), [[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 1]], atol=1e-6
    )


@settings(deadline=None)
@given(scored_boxes(), st.sampled_from([0.3, 0.5, 0.7]))
def test_suppression_keeps_the_best_and_leaves_no_overlap(given_boxes, limit):
    boxes, scores = given_boxes
    kept = bx.suppress_by_union(boxes, scores, limit=limit)
    overlap = bx.iou(boxes, boxes)
    assert (np.diff(scores[kept]) <= 0).all()
    for index in range(len(boxes)):
        better = [k for k in kept if scores[k] >= scores[index] and k != index]
        covered = any(overlap[index, k] > limit + 1e-4 for k in better)
        clear = all(overlap[index, k] < limit - 1e-4 for k in better)
        assert not (covered and index in kept)
        assert not (clear and index not in kept)


def test_small_box_inside_a_large_one_is_suppressed_by_the_smaller():
    boxes = np.array([[0, 0, 100, 100], [40, 40, 60, 60], [200, 0, 220, 20]], np.float32)
    scores = np.array([0.8, 0.9, 0.7], np.float32)
    assert bx.suppress_by_smaller(boxes, scores, limit=0.7).tolist() == [1, 2]
    assert sorted(bx.suppress_by_union(boxes, scores, limit=0.7).tolist()) == [0, 1, 2]


@given(scored_boxes())
def test_squared_boxes_are_square_about_the_same_centre(given_boxes):
    boxes, _ = given_boxes
    square = bx.squared(boxes)
    wh = bx.sides(square)
    np.testing.assert_allclose(wh[:, 0], wh[:, 1], atol=1e-3)
    np.testing.assert_allclose(
        square[:, :2] + square[:, 2:], boxes[:, :2] + boxes[:, 2:], atol=1e-3
    )


def test_regression_moves_every_edge_by_its_part_of_the_side():
    boxes = np.array([[10, 20, 30, 60]], np.float32)
    offsets = np.array([[0.1, 0.1, -0.1, 0.5]], np.float32)
    np.testing.assert_allclose(bx.regressed(boxes, offsets), [[12, 24, 28, 80]])
    np.testing.assert_allclose(
        bx.regressed(boxes, offsets, extra_px=1), [[12.1, 24.1, 27.9, 80.5]], rtol=1e-6
    )
