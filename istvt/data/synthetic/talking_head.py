"""Render talking-head clips from one portrait by warping it.

The head sways, nods and turns a little, so the face moves against the background. It blinks and
speaks; the light drifts and the sensor is noisy. All motion is a smooth function of the clip's
seed. The landmarks are detected once in the portrait and carried through the same warps.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from istvt.errors import DataError
from istvt.records import Face, FloatArray, UInt8Array

PICTURE_TO_FACE = 2.1  # side of the picture over the larger side of the face's box
MARGIN = 1.2  # side of the canvas over the picture's, so that motion seldom shows the border


Field: TypeAlias = tuple[FloatArray, FloatArray]


@dataclass(frozen=True)
class ClipRecipe:
    """Size and liveliness of a clip; motions are standard deviations.

    Attributes:
        size_px: side of the square picture.
        shift, turn: of the head and of the face against it, over the eyes' distance.
        zoom: of the head's size.
        tilt_deg: of the head's rotation.
        mouth, light: opening over the eyes' distance; change of brightness.
        noise: standard deviation of the sensor's noise, in grey levels.
    """

    size_px: int = 256
    num_frames: int = 14
    fps: float = 25.0
    shift: float = 0.12
    turn: float = 0.06
    zoom: float = 0.03
    tilt_deg: float = 2.5
    mouth: float = 0.035
    light: float = 0.05
    noise: float = 2.0
    blinks_per_s: float = 0.6


@dataclass(frozen=True, eq=False)
class Portrait:
    """A portrait cut around its one face.

    Attributes:
        image: `(C, C, 3)` RGB, the canvas that every frame is warped from.
        landmarks: `(5, 2)` px in it.
    """

    image: UInt8Array
    landmarks: FloatArray

    @property
    def eyes_px(self) -> float:
        """Distance between the eyes."""
        return float(np.linalg.norm(self.landmarks[1] - self.landmarks[0]))


def cut_portrait(image: UInt8Array, faces: Sequence[Face], *, name: str, size_px: int) -> Portrait:
    """Cut the canvas for pictures of `size_px` around the only face.

    Raises:
        DataError: there is no face, or more than one.
    """
    if len(faces) != 1:
        raise DataError(f"{name} holds {len(faces)} faces: a portrait needs exactly one")
    box = faces[0].box_xyxy
    side = PICTURE_TO_FACE * MARGIN * float(max(box[2] - box[0], box[3] - box[1]))
    canvas_px = round(MARGIN * size_px)
    scale = canvas_px / side
    room = np.array([image.shape[1], image.shape[0]]) - side
    centred = (box[:2] + box[2:]) / 2 - side / 2
    corner = np.where(room > 0, np.clip(centred, 0, np.maximum(room, 0)), centred)
    matrix = np.array([[scale, 0, -scale * corner[0]], [0, scale, -scale * corner[1]]])
    if scale < 1:  # the warp samples without averaging, so soften large portraits first
        image = cv2.GaussianBlur(image, (0, 0), 0.4 / scale)
    canvas: UInt8Array = cv2.warpAffine(
        image,
        matrix,
        (canvas_px, canvas_px),
        flags=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    landmarks = ((faces[0].landmarks - corner) * scale).astype(np.float32)
    return Portrait(canvas, landmarks)


def make_clip(
    portrait: Portrait, *, seed: int, recipe: ClipRecipe
) -> Iterator[tuple[UInt8Array, FloatArray]]:
    """Render one real clip.

    Args:
        portrait: from `cut_portrait`.
        seed: fixes every frame.
        recipe: size and liveliness.

    Yields:
        The image `(S, S, 3)` and its landmarks `(5, 2)` px.
    """
    rng = np.random.default_rng(seed)
    warps = _find_warps(portrait)
    motion = _draw_motion(rng, recipe, portrait.eyes_px)
    light = _draw_light(rng, recipe)
    for index in range(recipe.num_frames):
        field = warps.field(motion.inner[index])
        pose = _pose_matrix(motion, index, portrait, recipe.size_px)
        lit = _render(portrait.image, field, pose, recipe.size_px) * light[index]
        noise = rng.standard_normal(lit.shape, dtype=np.float32) * np.float32(recipe.noise)
        image = np.clip(np.rint(lit + noise), 0, 255).astype(np.uint8)
        yield image, _carry(portrait.landmarks, field, pose)


@dataclass(frozen=True, eq=False)
class _Motion:
    """Per frame: `inner` (n, 4) weights of the warp bases in px, `pose` (n, 4) x, y, zoom, tilt."""

    inner: FloatArray
    pose: NDArray[np.float64]


def _draw_motion(rng: np.random.Generator, recipe: ClipRecipe, eyes_px: float) -> _Motion:
    count = recipe.num_frames
    turn = smooth_walk(rng, count, 2, recipe.fps, cutoff_hz=0.8) * recipe.turn
    speech = np.abs(smooth_walk(rng, count, 1, recipe.fps, cutoff_hz=4.0)) * recipe.mouth
    inner = np.concatenate([turn, speech, _blinks(rng, recipe)[:, None] * 0.12], axis=1)
    pose = smooth_walk(rng, count, 4, recipe.fps, cutoff_hz=0.7)
    pose *= (recipe.shift * eyes_px, recipe.shift * eyes_px, recipe.zoom, recipe.tilt_deg)
    return _Motion((inner * eyes_px).astype(np.float32), pose)


def smooth_walk(
    rng: np.random.Generator, num_frames: int, channels: int, fps: float, *, cutoff_hz: float
) -> NDArray[np.float64]:
    """Draw random motion with no component above `cutoff_hz`.

    Returns:
        `(num_frames, channels)` of unit variance over many draws.
    """
    padded = 4 * num_frames  # the series is periodic: keep a quarter, so that its ends differ
    frequencies = np.fft.rfftfreq(padded, 1 / fps)
    kept = (frequencies <= cutoff_hz) & (frequencies > 0)
    spectrum = rng.normal(size=(len(frequencies), channels, 2)) @ np.array([1, 1j])
    series = np.fft.irfft(spectrum * kept[:, None], padded, axis=0)
    scale = padded / (2 * np.sqrt(max(1, kept.sum())))
    return np.asarray(series[:num_frames] * scale, dtype=np.float64)


def _blinks(rng: np.random.Generator, recipe: ClipRecipe) -> NDArray[np.float64]:
    """Close the eyes for about a fifth of a second at random times; 0 open, 1 shut."""
    times = np.arange(recipe.num_frames) / recipe.fps
    count = rng.poisson(recipe.blinks_per_s * recipe.num_frames / recipe.fps)
    starts = rng.uniform(0, max(times[-1], 1 / recipe.fps), count)
    shut = np.exp(-(((times[:, None] - starts[None, :]) / 0.07) ** 2))
    return np.minimum(1.0, shut.sum(axis=1))


def _draw_light(rng: np.random.Generator, recipe: ClipRecipe) -> FloatArray:
    """Return the factors `(n, 1, 1, 3)` of brightness and of a slight drift in its colour."""
    base = rng.normal(0, 2 * recipe.light, 3) * (1, 0.3, 0.3)
    drift = smooth_walk(rng, recipe.num_frames, 3, recipe.fps, cutoff_hz=0.5) * recipe.light
    drift = (base + drift * (1, 0.2, 0.2)) @ np.array([[1, 1, 1], [1, 0, -1], [-0.5, 1, -0.5]])
    return np.exp(drift).astype(np.float32)[:, None, None, :]


@dataclass(frozen=True, eq=False)
class _Warps:
    """The reach of the inner motions: `(C, C)` each, offset in px read for 1 px of motion."""

    head: FloatArray
    mouth: FloatArray
    lids: FloatArray

    def field(self, inner: FloatArray) -> Field:
        """Weight them by one frame's motion: the offset of each pixel's source, across and down."""
        turn, nod, opening, blink = inner
        return turn * self.head, nod * self.head + opening * self.mouth + blink * self.lids


def _find_warps(portrait: Portrait) -> _Warps:
    side, eyes_px = portrait.image.shape[0], portrait.eyes_px
    left_eye, right_eye, nose, left_mouth, right_mouth = portrait.landmarks
    mouth = (left_mouth + right_mouth) / 2
    below = np.tanh((np.arange(side, dtype=np.float32) - mouth[1]) / (0.1 * eyes_px))[:, None]
    above_eye = np.array([0, 0.1 * eyes_px], np.float32)
    lid_px = (0.3 * eyes_px, 0.16 * eyes_px)
    return _Warps(
        head=-_bump(side, nose, (1.1 * eyes_px, 1.3 * eyes_px)),
        mouth=-below * _bump(side, mouth, (0.5 * eyes_px, 0.35 * eyes_px)),
        lids=-_bump(side, left_eye - above_eye, lid_px)
        - _bump(side, right_eye - above_eye, lid_px),
    )


def _bump(side: int, centre: FloatArray, widths: tuple[float, float]) -> FloatArray:
    ticks = np.arange(side, dtype=np.float32)
    across = np.exp(-(((ticks - centre[0]) / widths[0]) ** 2))
    down = np.exp(-(((ticks - centre[1]) / widths[1]) ** 2))
    return np.asarray(np.outer(down, across), dtype=np.float32)


def _pose_matrix(
    motion: _Motion, index: int, portrait: Portrait, size_px: int
) -> NDArray[np.float64]:
    """Turn and resize around the face, move, and crop the canvas's margin: `(2, 3)`."""
    x, y, zoom, tilt_deg = motion.pose[index]
    side = portrait.image.shape[0]
    centre = portrait.landmarks.mean(axis=0).astype(float)
    matrix = cv2.getRotationMatrix2D((centre[0], centre[1]), tilt_deg, float(np.exp(zoom)))
    matrix[:, 2] += (x, y) - np.full(2, (side - size_px) / 2)
    return np.asarray(matrix, dtype=np.float64)


def _render(
    canvas: UInt8Array, field: Field, pose: NDArray[np.float64], size_px: int
) -> FloatArray:
    """Warp the canvas by the field, then by the pose: `(S, S, 3)` float32."""
    rows, columns = np.indices(canvas.shape[:2], dtype=np.float32)
    moved = cv2.remap(
        canvas, columns + field[0], rows + field[1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )
    posed = cv2.warpAffine(
        moved, pose, (size_px, size_px), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.asarray(posed, dtype=np.float32)


def _carry(landmarks: FloatArray, field: Field, pose: NDArray[np.float64]) -> FloatArray:
    """Find where the warps put the landmarks, to a hundredth of a pixel.

    The field holds, for each place, the offset of its source. The inverse is found by iteration,
    which contracts: the field changes by less than a pixel per pixel.
    """
    places = landmarks.copy()
    for _ in range(12):
        across, down = places[:, 0][None], places[:, 1][None]
        read_x = cv2.remap(field[0], across, down, cv2.INTER_LINEAR)[0]
        read_y = cv2.remap(field[1], across, down, cv2.INTER_LINEAR)[0]
        places = landmarks - np.stack([read_x, read_y], axis=1)
    return np.asarray(places @ pose[:, :2].T + pose[:, 2], dtype=np.float32)
