"""Blend fake clips and their masks from a real clip's frames and landmarks.

Self-blending follows the description in Shiohara and Yamasaki, CVPR 2022. Two copies of one frame,
one of them changed in colour and sharpness, are blended inside a mask of the face. For video the
parameters are drawn once per clip and replayed on every frame. Only the assumed landmarks, and with
them the mask's edge, differ from frame to frame. That is the cue in time. The changed copy and the
mask's edge are the cues in space.

In half of the clips the changed copy surrounds the face. If the unchanged frame served as real, it
would differ from its fake in every pixel. The whole picture's softness or colour would then give
the fakes away. So a training pair is the target, which is one of the two copies everywhere, and the
same target with the inner face blended in.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from istvt.data.synthetic.face_mask import draw_mask, face_to_image, mask_to_face
from istvt.records import FloatArray, UInt8Array


@dataclass(frozen=True)
class SelfBlend:
    """The ranges from which a clip's parameters are drawn.

    Attributes:
        seed: fixes every draw of `blend_clip`; the other functions take a generator.
        gain, offset, saturation: largest change of the colour copy: a channel's factor, its shift
            in grey levels, the factor of its distance from grey.
        min_downscale, max_downscale: the copy is shrunk to a share in this range and enlarged
            again, or sharpened instead.
        sharpen: largest weight of the unsharp mask.
        move, resize: largest shift of the inner face, over the eyes' distance; largest change of
            its size.
        elastic: size of the mask's deformation, over the eyes' distance.
        min_feather, max_feather: blur of the mask's edge, over the eyes' distance.
        ratios: one of these multiplies the mask.
        jitter: standard deviation of the landmarks' tremble, over the eyes' distance.
        inner_jitter: share of that tremble that also moves the inner face, 0 to 1. A face swap that
            cuts out and pastes back by the same landmarks moves the mask alone.
    """

    seed: int = 0
    gain: float = 0.12
    offset: float = 14.0
    saturation: float = 0.3
    min_downscale: float = 0.3
    max_downscale: float = 0.7
    sharpen: float = 1.2
    move: float = 0.06
    resize: float = 0.04
    elastic: float = 0.08
    min_feather: float = 0.03
    max_feather: float = 0.16
    ratios: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)
    jitter: float = 0.015
    inner_jitter: float = 0.0


SUBTLE_BLEND = SelfBlend()
# Strong enough that a small model begins to learn within some hundred steps.
PLAIN_BLEND = SelfBlend(gain=0.25, offset=25.0, ratios=(1.0,), jitter=0.03)


@dataclass(frozen=True, eq=False)
class ClipBlend:
    """The parameters drawn for one clip.

    Attributes:
        mask: `(MASK_SIDE, MASK_SIDE)` float32, 0 to 1, in face coordinates.
        colour: `(3, 4)`, maps RGB1 to RGB.
        changes_inner: whether the inner face is the changed copy; otherwise its surroundings are.
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
    inner_jitter: float


@dataclass(frozen=True, eq=False)
class BlendedWindow:
    """A pair of windows that differ only where the mask is above 0.

    Attributes:
        targets: `(T, S, S, 3)`, the real window, with its fake's colour and sharpness around the
            face.
        fakes: `(T, S, S, 3)`.
        masks: `(T, S, S)` float32, the share of the inner face in each pixel.
    """

    targets: UInt8Array
    fakes: UInt8Array
    masks: FloatArray


def blend_clip(
    frames: Iterable[tuple[UInt8Array, FloatArray | None]], recipe: SelfBlend
) -> Iterator[tuple[UInt8Array, FloatArray]]:
    """Make a fake clip from a real one.

    Args:
        frames: images `(H, W, 3)` RGB, each with its landmarks `(5, 2)` px as in `Face`. A frame
            without a face has None and stays unchanged.
        recipe: ranges and seed; the same seed and frames give the same fake.

    Yields:
        The image, and the mask `(H, W)` float32: the share of the inner face in each pixel.
    """
    rng = np.random.default_rng([recipe.seed, 1])  # independent of the clip of the same seed
    clip: ClipBlend | None = None
    for image, landmarks in frames:
        if landmarks is None:
            yield image, np.zeros(image.shape[:2], np.float32)
            continue
        clip = clip or draw_clip(recipe, landmarks, rng)
        yield blend_frame(image, landmarks, clip, rng=rng)


def blend_window(
    images: UInt8Array, landmarks: FloatArray, recipe: SelfBlend, rng: np.random.Generator
) -> BlendedWindow:
    """Make a fake window from a real one; every frame replays the same parameters.

    Args:
        images: `(T, S, S, 3)` crops.
        landmarks: `(T, 5, 2)` px in the crops.
        recipe: ranges; its seed is not used.
        rng: draws from them.
    """
    clip = draw_clip(recipe, landmarks[0], rng)
    pairs = zip(images, landmarks, strict=True)
    blended = [_blend(image, points, clip, rng) for image, points in pairs]
    targets, fakes, masks = (np.stack(parts) for parts in zip(*blended, strict=True))
    return BlendedWindow(targets, fakes, masks)


def draw_clip(recipe: SelfBlend, landmarks: FloatArray, rng: np.random.Generator) -> ClipBlend:
    """Draw the parameters that stay the same over a clip, from its first face's landmarks."""
    shrinks = bool(rng.random() < 0.5)
    feather = (recipe.min_feather, recipe.max_feather)
    mask = draw_mask(landmarks, rng, elastic=recipe.elastic, feather=feather)
    return ClipBlend(
        mask=mask * np.float32(rng.choice(recipe.ratios)),
        colour=_draw_colour(recipe, rng),
        changes_inner=bool(rng.random() < 0.5),
        downscale=_draw_downscale(recipe, rng) if shrinks else None,
        sharpen=float(rng.uniform(0.4, 1.0) * recipe.sharpen),
        placement=_draw_placement(recipe, rng),
        jitter=recipe.jitter,
        inner_jitter=recipe.inner_jitter,
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
    _, fake, mask = _blend(image, landmarks, clip, rng)
    return fake, mask


def _blend(
    image: UInt8Array, landmarks: FloatArray, clip: ClipBlend, rng: np.random.Generator
) -> tuple[UInt8Array, UInt8Array, FloatArray]:
    """Return a frame's target, its fake and the mask."""
    size_wh = (image.shape[1], image.shape[0])
    eyes_px = float(np.linalg.norm(landmarks[1] - landmarks[0]))
    tremble = rng.normal(0.0, clip.jitter * eyes_px, landmarks.shape).astype(np.float32)
    edge, true = face_to_image(landmarks + tremble), face_to_image(landmarks)
    mask = cv2.warpAffine(clip.mask, (edge @ mask_to_face())[:2], size_wh)
    inner_to_image = face_to_image(landmarks + clip.inner_jitter * tremble)
    placed = inner_to_image @ clip.placement @ np.linalg.inv(true)
    changed = _change(image, clip)
    source, target = (changed, image) if clip.changes_inner else (image, changed)
    inner = cv2.warpAffine(
        source, placed[:2], size_wh, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    mixed: UInt8Array = cv2.blendLinear(inner, target, mask, 1.0 - mask)
    return target, mixed, mask


def _draw_downscale(recipe: SelfBlend, rng: np.random.Generator) -> float:
    return float(rng.uniform(recipe.min_downscale, recipe.max_downscale))


def _draw_colour(recipe: SelfBlend, rng: np.random.Generator) -> FloatArray:
    """Combine a change of saturation with one gain and one offset per channel."""
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
    """Shift the colour, then remove or exaggerate detail."""
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
