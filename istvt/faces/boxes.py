"""Compare, suppress, square and adjust boxes `(n, 4)`, given as x0, y0, x1, y1 in px."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from istvt.records import FloatArray

IndexArray = NDArray[np.intp]


def sides(boxes_xyxy: FloatArray) -> FloatArray:
    """Return widths and heights `(n, 2)`."""
    return boxes_xyxy[:, 2:4] - boxes_xyxy[:, 0:2]


def iou(first_xyxy: FloatArray, second_xyxy: FloatArray) -> FloatArray:
    """Compute the intersection over union of every pair.

    Args:
        first_xyxy: `(n, 4)`.
        second_xyxy: `(m, 4)`.

    Returns:
        `(n, m)`, 0 to 1.
    """
    top_left = np.maximum(first_xyxy[:, None, :2], second_xyxy[None, :, :2])
    bottom_right = np.minimum(first_xyxy[:, None, 2:4], second_xyxy[None, :, 2:4])
    shared = np.maximum(bottom_right - top_left, 0).prod(axis=2)
    areas = sides(first_xyxy).prod(axis=1)[:, None] + sides(second_xyxy).prod(axis=1)[None]
    return shared / np.maximum(areas - shared, 1e-9)


def suppress_by_union(boxes_xyxy: FloatArray, scores: FloatArray, *, limit: float) -> IndexArray:
    """Keep the best box of every group whose intersection over union exceeds the limit.

    Returns:
        Indices of the kept boxes, best first.
    """
    if not len(boxes_xyxy):
        return np.zeros(0, np.intp)
    boxes_xywh: Any = boxes_xyxy[:, :4].astype(np.float64)
    boxes_xywh[:, 2:] -= boxes_xywh[:, :2]
    plain_scores: Any = scores  # OpenCV's annotations allow only sequences
    return np.asarray(cv2.dnn.NMSBoxes(boxes_xywh, plain_scores, 0.0, limit), np.intp)


def suppress_by_smaller(boxes_xyxy: FloatArray, scores: FloatArray, *, limit: float) -> IndexArray:
    """Keep the best box of every group whose overlap, as a share of the smaller box, is too large.

    Sides include the last pixel, as in MTCNN's last stage.

    Returns:
        Indices of the kept boxes, best first.
    """
    areas = (sides(boxes_xyxy) + 1).prod(axis=1)
    waiting = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(waiting):
        best, others = waiting[0], waiting[1:]
        kept.append(int(best))
        top_left = np.maximum(boxes_xyxy[best, :2], boxes_xyxy[others, :2])
        bottom_right = np.minimum(boxes_xyxy[best, 2:4], boxes_xyxy[others, 2:4])
        shared = np.maximum(bottom_right - top_left + 1, 0).prod(axis=1)
        waiting = others[shared <= limit * np.minimum(areas[best], areas[others])]
    return np.array(kept, np.intp)


def squared(boxes_xyxy: FloatArray, *, scale: float = 1.0) -> FloatArray:
    """Make every box a square about its centre, with its longer side times a scale."""
    wh = sides(boxes_xyxy)
    longest = wh.max(axis=1, keepdims=True) * np.float32(scale)
    corners = boxes_xyxy[:, :2] + wh * np.float32(0.5) - longest * np.float32(0.5)
    return np.hstack([corners, corners + longest])


def regressed(boxes_xyxy: FloatArray, offsets: FloatArray, *, extra_px: int = 0) -> FloatArray:
    """Move every edge by its offset, given as a fraction of the box's side.

    Args:
        boxes_xyxy: `(n, 4)`.
        offsets: `(n, 4)`, one for each of x0, y0, x1, y1.
        extra_px: added to the side before it scales the offset; MTCNN's later stages use 1.
    """
    wh = sides(boxes_xyxy) + np.float32(extra_px)
    return boxes_xyxy + offsets * np.hstack([wh, wh])
