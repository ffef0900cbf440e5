"""Cut the aligned square crop of a face that the model takes."""

from dataclasses import dataclass
from math import atan2, ceil, cos, sin

import cv2
import numpy as np

from istvt.errors import UsageError
from istvt.presets import CropRecipe
from istvt.records import Face, FloatArray, UInt8Array

# Samples per crop pixel and axis. With one, sharpness would depend on how the crop's pixels fall on
# the image's, and would flicker as the face moves.
LEAST_SAMPLES = 2


@dataclass(frozen=True)
class CropSquare:
    """The square of the image that becomes the crop.

    Attributes:
        centre_xy: centre of the square, px.
        side_px: side of the square.
        angle: tilt of the face in radians, clockwise as seen.
    """

    centre_xy: tuple[float, float]
    side_px: float
    angle: float


def crop_square(face: Face, recipe: CropRecipe) -> CropSquare:
    """Place the square: centred on the nose tip, a multiple of the box's longer side, eyes level.

    Source: Zhao et al., ISTVT, IEEE TIFS 2023.

    Raises:
        UsageError: the face's box is empty or not finite.
    """
    left, top, right, bottom = (float(edge) for edge in face.box_xyxy)
    side_px = recipe.scale * max(right - left, bottom - top)
    if not (np.isfinite(face.landmarks).all() and 0 < side_px < float("inf")):
        raise UsageError(f"the face's box {face.box_xyxy} must be finite and not empty")
    (left_eye_x, left_eye_y), (right_eye_x, right_eye_y), (x, y) = face.landmarks[:3].tolist()
    angle = atan2(right_eye_y - left_eye_y, right_eye_x - left_eye_x) if recipe.align else 0.0
    return CropSquare((x, y), side_px, angle)


def crop_to_image(square: CropSquare, size_px: int) -> FloatArray:
    """Return the affine map `(2, 3)` from the crop's pixel centres to the image's."""
    step = square.side_px / size_px
    along, across = step * cos(square.angle), step * sin(square.angle)
    middle = (size_px - 1) / 2
    x, y = square.centre_xy
    return np.array(
        [
            [along, -across, x - (along - across) * middle],
            [across, along, y - (across + along) * middle],
        ],
        np.float32,
    )


def image_to_crop(points: FloatArray, square: CropSquare, size_px: int) -> FloatArray:
    """Map points `(n, 2)` of the image into the crop, both in px."""
    back = cv2.invertAffineTransform(crop_to_image(square, size_px))
    return np.asarray(points @ back[:, :2].T + back[:, 2], np.float32)


def cut_face(image: UInt8Array, face: Face, recipe: CropRecipe) -> UInt8Array:
    """Cut out a face, level it and resize it.

    The image is sampled at least once per pixel and then averaged, so that a large face does not
    alias. Beyond the image's edge its last pixels repeat. A black margin would be an edge, and
    edges are what a detector of blended faces looks for.

    Args:
        image: `(H, W, 3)` RGB.
        face: the face with its landmarks.
        recipe: the model's crop recipe.

    Returns:
        `(size_px, size_px, 3)` RGB.
    """
    square = crop_square(face, recipe)
    samples = max(LEAST_SAMPLES, ceil(square.side_px / recipe.size_px))
    dense_px = recipe.size_px * samples
    dense = cv2.warpAffine(
        image,
        crop_to_image(square, dense_px),
        (dense_px, dense_px),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    crop: UInt8Array = cv2.resize(
        dense, (recipe.size_px, recipe.size_px), interpolation=cv2.INTER_AREA
    )
    return crop
