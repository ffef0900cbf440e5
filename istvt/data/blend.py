"""Frames of a real clip and their landmarks in, the frames of a fake clip and its masks out.

Self-blending after the description in Shiohara and Yamasaki, CVPR 2022: two copies of one frame,
one of them changed in colour and sharpness, are blended inside a mask of the face. For video the
parameters are drawn once a clip and replayed on every frame; what differs from frame to frame is
where the landmarks are thought to be, so mask and inner face tremble together. That is the cue in
time; the changed copy and the mask's edge are the cues in space.

Five landmarks span too small a hull. So the mask is drawn in face coordinates, in which the eyes
lie at (-0.5, 0) and (0.5, 0) and the middle of the mouth at (0, 1): the convex hull of a fixed
outline (brows to chin) and of the clip's own five landmarks. Three points (both eyes and the middle
of the mouth) give each frame's affine map from there.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from istvt.errors import DataError
from istvt.records import FloatArray, UInt8Array

MASK_SIDE = 128  # px of the mask in face coordinates
MASK_REACH = 2.0  # the mask spans -2 to 2 across, and -1.5 to 2.5 down
MASK_TOP = -1.5

# Right half of an upright face's outline in face coordinates: forehead, temple, cheek, jaw, chin.
# Read off upright frontal faces; the left half mirrors it.
OUTLINE = ((0.0, -0.62), (0.55, -0.58), (0.95, -0.2), (1.0, 0.35), (0.85, 0.95), (0.5, 1.45))
CHIN = (0.0, 1.65)


@dataclass(frozen=True)
class SelfBlend:
    """From which ranges a clip's parameters are drawn.

    Attributes:
        seed: fixes every draw.
        gain, offset, saturation: largest change of the colour copy: a channel's factor, its shift
            in grey levels, the factor of its distance from grey.
        min_downscale: the copy is shrunk to at least this share and back; or sharpened instead.
        sharpen: largest weight of the unsharp mask.
        move, resize: largest shift of the inner face, over the eyes' distance; largest change of
            its size.
        elastic: size of the mask's deformation, over the eyes' distance.
        min_feather, max_feather: blur of the mask's edge, over the eyes' distance.
        ratios: one of these multiplies the mask.
        jitter: standard deviation of the landmarks' tremble, over the eyes' distance.
    """

    seed: int = 0
    gain: float = 0.12
    offset: float = 14.0
    saturation: float = 0.3
    min_downscale: float = 0.3
    sharpen: float = 1.2
    move: float = 0.06
    resize: float = 0.04
    elastic: float = 0.08
    min_feather: float = 0.03
    max_feather: float = 0.16
    ratios: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)
    jitter: float = 0.015


@dataclass(frozen=True, eq=False)
class ClipBlend:
    """What was drawn for one clip.

    Attributes:
        mask: `(MASK_SIDE, MASK_SIDE)` float32, 0 to 1, in face coordinates.
        colour: `(3, 4)`, maps RGB1 to RGB.
        changes_inner: whether the inner face is the changed copy, else all around it.
        downscale: share to shrink to; None where the copy is sharpened.
        placement: `(3, 3)`, moves and resizes the inner face in face coordinates.
    """

    mask: FloatArray
    colour: FloatArray
    changes_inner: bool
    downscale: float | None
    sharpen: float
    placement: NDArray[np.float64]
    jitter: float


def blend_clip(
    frames: Iterable[tuple[UInt8Array, FloatArray | None]], recipe: SelfBlend
) -> Iterator[tuple[UInt8Array, FloatArray]]:
    """Make a fake clip from a real one.

    Args:
        frames: images `(H, W, 3)` RGB, each with its landmarks `(5, 2)` px as in `Face`, or with
            None where the face was not found; such a frame stays as it is.
        recipe: ranges and seed; the same seed and frames give the same fake.

    Yields:
        The image, and the mask `(H, W)` float32: the share of the inner face in each pixel.
    """
    rng = np.random.default_rng([recipe.seed, 1])  # apart from the clip of the same seed
    clip: ClipBlend | None = None
    for image, landmarks in frames:
        if landmarks is None:
            yield image, np.zeros(image.shape[:2], np.float32)
            continue
        clip = clip or draw_clip(recipe, landmarks, rng)
        yield blend_frame(image, landmarks, clip, rng=rng)


def draw_clip(recipe: SelfBlend, landmarks: FloatArray, rng: np.random.Generator) -> ClipBlend:
    """Draw what stays the same over a clip; the landmarks are those of its first face."""
    shrinks = bool(rng.random() < 0.5)
    return ClipBlend(
        mask=_draw_mask(recipe, landmarks, rng),
        colour=_draw_colour(recipe, rng),
        changes_inner=bool(rng.random() < 0.5),
        downscale=float(rng.uniform(recipe.min_downscale, 0.7)) if shrinks else None,
        sharpen=float(rng.uniform(0.4, 1.0) * recipe.sharpen),
        placement=_draw_placement(recipe, rng),
        jitter=recipe.jitter,
    )


def blend_frame(
    image: UInt8Array, landmarks: FloatArray, clip: ClipBlend, *, rng: np.random.Generator
) -> tuple[UInt8Array, FloatArray]:
    """Blend one frame; only the tremble of its landmarks is drawn here.

    Args:
        image: `(H, W, 3)`.
        landmarks: `(5, 2)` px.
        clip: the clip's parameters.
        rng: draws the tremble.

    Returns:
        The fake `(H, W, 3)` and its mask `(H, W)`.
    """
    size_wh = (image.shape[1], image.shape[0])
    eyes_px = float(np.linalg.norm(landmarks[1] - landmarks[0]))
    tremble = rng.normal(0.0, clip.jitter * eyes_px, landmarks.shape).astype(np.float32)
    true, thought = face_to_image(landmarks), face_to_image(landmarks + tremble)
    mask = cv2.warpAffine(clip.mask, (thought @ _mask_to_face())[:2], size_wh)
    placed = thought @ clip.placement @ np.linalg.inv(true)
    changed = _change(image, clip)
    source, target = (changed, image) if clip.changes_inner else (image, changed)
    inner = cv2.warpAffine(
        source, placed[:2], size_wh, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    mixed: UInt8Array = cv2.blendLinear(inner, target, mask, 1.0 - mask)
    return mixed, mask


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


def _mask_to_face() -> NDArray[np.float64]:
    step = 2 * MASK_REACH / MASK_SIDE
    return np.array([[step, 0, -MASK_REACH], [0, step, MASK_TOP], [0, 0, 1]])


def _draw_mask(recipe: SelfBlend, landmarks: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Fill the hull, deform it elastically, blur it with two random kernels, weaken it."""
    unit_px = MASK_SIDE / (2 * MASK_REACH)
    corners = (face_hull(landmarks) + np.array([MASK_REACH, -MASK_TOP])) * unit_px
    mask = np.zeros((MASK_SIDE, MASK_SIDE), np.float32)
    cv2.fillConvexPoly(mask, np.rint(corners * 16).astype(np.int32), 1.0, cv2.LINE_AA, shift=4)
    mask = _deform(mask, amount_px=recipe.elastic * unit_px, rng=rng)
    for _ in range(2):
        sigma_px = rng.uniform(recipe.min_feather, recipe.max_feather) * unit_px
        mask = cv2.GaussianBlur(mask, (0, 0), sigma_px)
    return np.clip(mask, 0, 1) * np.float32(rng.choice(recipe.ratios))


def _deform(mask: FloatArray, *, amount_px: float, rng: np.random.Generator) -> FloatArray:
    """Push every point by a smooth random field of that standard deviation."""
    field = rng.normal(size=(2, MASK_SIDE, MASK_SIDE)).astype(np.float32)
    smooth = np.stack([cv2.GaussianBlur(axis, (0, 0), MASK_SIDE / 16) for axis in field])
    smooth *= amount_px / smooth.std()
    rows, columns = np.indices(mask.shape, dtype=np.float32)
    moved: FloatArray = cv2.remap(mask, columns + smooth[0], rows + smooth[1], cv2.INTER_LINEAR)
    return moved


def _draw_colour(recipe: SelfBlend, rng: np.random.Generator) -> FloatArray:
    """Combine a change of saturation with one gain and offset a channel."""
    saturation = 1 + rng.uniform(-1, 1) * recipe.saturation
    grey = np.full((3, 3), (1 - saturation) / 3)
    gains = 1 + rng.uniform(-1, 1, 3) * recipe.gain
    matrix = gains[:, None] * (grey + saturation * np.eye(3))
    offsets = rng.uniform(-1, 1, 3) * recipe.offset
    return np.concatenate([matrix, offsets[:, None]], axis=1).astype(np.float32)


def _draw_placement(recipe: SelfBlend, rng: np.random.Generator) -> NDArray[np.float64]:
    matrix = np.diag([*(1 + rng.uniform(-1, 1, 2) * recipe.resize), 1.0])
    matrix[:2, 2] = rng.uniform(-1, 1, 2) * recipe.move
    return matrix


def _change(image: UInt8Array, clip: ClipBlend) -> UInt8Array:
    """Shift the colour, then take detail away or exaggerate it."""
    coloured: UInt8Array = cv2.transform(image, clip.colour)  # saturates at 0 and 255
    if clip.downscale is None:
        blurred = cv2.GaussianBlur(coloured, (0, 0), 2.0)
        sharp: UInt8Array = cv2.addWeighted(coloured, 1 + clip.sharpen, blurred, -clip.sharpen, 0)
        return sharp
    small = cv2.resize(
        coloured, None, fx=clip.downscale, fy=clip.downscale, interpolation=cv2.INTER_AREA
    )
    size_wh = (image.shape[1], image.shape[0])
    soft: UInt8Array = cv2.resize(small, size_wh, interpolation=cv2.INTER_LINEAR)
    return soft
