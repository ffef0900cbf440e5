"""Draw a face's mask from its five landmarks.

The hull of five landmarks is too small. The mask is therefore drawn in face coordinates. There the
eyes lie at (-0.5, 0) and (0.5, 0), and the middle of the mouth at (0, 1). The mask is the convex
hull of a fixed outline (brows to chin) and the face's own five landmarks. Both eyes and the middle
of the mouth define the affine map from face coordinates to each frame.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from istvt.errors import DataError
from istvt.records import FloatArray

MASK_SIDE = 128  # px of the mask in face coordinates
MASK_REACH = 2.0  # the mask spans -2 to 2 across, and -1.5 to 2.5 down
MASK_TOP = -1.5

# Right half of an upright face's outline in face coordinates: forehead, temple, cheek, jaw, chin.
# Measured on upright frontal faces; the left half mirrors it.
OUTLINE = ((0.0, -0.62), (0.55, -0.58), (0.95, -0.2), (1.0, 0.35), (0.85, 0.95), (0.5, 1.45))
CHIN = (0.0, 1.65)


def face_to_image(landmarks: FloatArray) -> NDArray[np.float64]:
    """Find the affine map from face coordinates to pixels.

    Args:
        landmarks: `(5, 2)` px.

    Returns:
        `(3, 3)`.

    Raises:
        DataError: the eyes and the mouth lie on one line.
    """
    left_eye, right_eye = landmarks[0].astype(float), landmarks[1].astype(float)
    mouth = landmarks[3:5].astype(float).mean(axis=0)
    middle = (left_eye + right_eye) / 2
    matrix = np.eye(3)
    matrix[:2] = np.stack([right_eye - left_eye, mouth - middle, middle], axis=1)
    if abs(np.linalg.det(matrix)) < 1.0:
        raise DataError(f"the landmarks span no face: {np.round(landmarks, 1).tolist()}")
    return matrix


def face_hull(landmarks: FloatArray) -> FloatArray:
    """Draw the outline of a face around its five landmarks.

    Args:
        landmarks: `(5, 2)` px.

    Returns:
        A convex polygon `(n, 2)` in face coordinates.
    """
    right = np.array(OUTLINE)
    outline = np.concatenate([right, right * (-1, 1), [CHIN]])
    to_face = np.linalg.inv(face_to_image(landmarks))
    own = landmarks @ to_face[:2, :2].T + to_face[:2, 2]
    points = np.concatenate([outline, own]).astype(np.float32)
    hull: FloatArray = cv2.convexHull(points)[:, 0]
    return hull


def mask_to_face() -> NDArray[np.float64]:
    """Return the affine map `(3, 3)` from the mask's pixels to face coordinates."""
    step = 2 * MASK_REACH / MASK_SIDE
    return np.array([[step, 0, -MASK_REACH], [0, step, MASK_TOP], [0, 0, 1]])


def draw_mask(
    landmarks: FloatArray,
    rng: np.random.Generator,
    *,
    elastic: float,
    feather: tuple[float, float],
) -> FloatArray:
    """Fill the hull, deform it elastically, and blur it with two random kernels.

    Args:
        landmarks: `(5, 2)` px.
        rng: draws deformation and blur.
        elastic: size of the deformation, over the eyes' distance.
        feather: range of the blur's standard deviation, over the eyes' distance.

    Returns:
        `(MASK_SIDE, MASK_SIDE)`, 0 to 1, in face coordinates.
    """
    unit_px = MASK_SIDE / (2 * MASK_REACH)
    corners = (face_hull(landmarks) + np.array([MASK_REACH, -MASK_TOP])) * unit_px
    mask = np.zeros((MASK_SIDE, MASK_SIDE), np.float32)
    cv2.fillConvexPoly(mask, np.rint(corners * 16).astype(np.int32), 1.0, cv2.LINE_AA, shift=4)
    mask = _deform(mask, amount_px=elastic * unit_px, rng=rng)
    for _ in range(2):
        mask = cv2.GaussianBlur(mask, (0, 0), max(rng.uniform(*feather) * unit_px, 0.01))
    return np.asarray(np.clip(mask, 0, 1), dtype=np.float32)


def _deform(mask: FloatArray, *, amount_px: float, rng: np.random.Generator) -> FloatArray:
    """Shift every point by a smooth random field with a standard deviation of `amount_px`."""
    field = rng.normal(size=(2, MASK_SIDE, MASK_SIDE)).astype(np.float32)
    smooth = np.stack([cv2.GaussianBlur(axis, (0, 0), MASK_SIDE / 16) for axis in field])
    smooth *= amount_px / smooth.std()
    rows, columns = np.indices(mask.shape, dtype=np.float32)
    moved: FloatArray = cv2.remap(mask, columns + smooth[0], rows + smooth[1], cv2.INTER_LINEAR)
    return moved
