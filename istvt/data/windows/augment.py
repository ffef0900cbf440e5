"""Apply one random change to all frames of a window of crops.

Drawing a change (`WindowChange`) is separate from applying it. Both windows of a pair, and the
masks of a blended one, therefore get exactly the same change. Lengths are shares of the crop's
side, so a change means the same at every size.
"""

from dataclasses import dataclass
from math import inf
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from istvt.data.windows.recompress import compress_h264, compress_jpeg
from istvt.errors import UsageError
from istvt.records import FloatArray, UInt8Array

Pixel = TypeVar("Pixel", np.uint8, np.float32)

MIDDLE = 127.5  # the grey level that a change of contrast preserves, and that fills a cut-out


@dataclass(frozen=True)
class Augmentation:
    """The possible changes to a training window; by default none.

    Probabilities (`flip`, `rotate`, `blur`, `downscale`, `noise`, `jpeg`, `h264`, `cut_out`) apply
    to a window, not to a frame. Changes happen in the order of the attributes.

    Attributes:
        flip: mirror image.
        rotate, max_angle_deg: turn about the middle; reflection fills the corners.
        gain, offset, saturation: largest change of contrast, as a factor; of brightness, in grey
            levels; of the distance from grey, as a factor.
        blur, max_blur: Gaussian; its standard deviation over the side.
        downscale, min_scale: to a share of the size, and back.
        noise, max_noise: Gaussian, new in each frame; its standard deviation in grey levels.
        jpeg, min_quality: each frame separately, with a quality up to 95.
        h264, min_crf, max_crf: all frames as one clip.
        cut_out, max_cut_outs, max_cut_side: grey rectangles; their number, and their sides over the
            crop's.
    """

    flip: float = 0.0
    rotate: float = 0.0
    max_angle_deg: float = 15.0
    gain: float = 0.0
    offset: float = 0.0
    saturation: float = 0.0
    blur: float = 0.0
    max_blur: float = 0.006
    downscale: float = 0.0
    min_scale: float = 0.4
    noise: float = 0.0
    max_noise: float = 6.0
    jpeg: float = 0.0
    min_quality: int = 40
    h264: float = 0.0
    min_crf: int = 23
    max_crf: int = 40
    cut_out: float = 0.0
    max_cut_outs: int = 4
    max_cut_side: float = 0.2

    def __post_init__(self) -> None:
        chances = ("flip", "rotate", "blur", "downscale", "noise", "jpeg", "h264", "cut_out")
        limits = {
            **dict.fromkeys(chances, (0, 1)),
            "max_angle_deg": (0, 180),
            "gain": (0, 1),
            "offset": (0, 255),
            "saturation": (0, 1),
            "max_blur": (0, 0.5),
            "min_scale": (0.01, 1),
            "max_noise": (0, 255),
            "min_quality": (1, 95),
            "max_crf": (0, 51),
            "min_crf": (0, self.max_crf),
            "max_cut_outs": (1, inf),
            "max_cut_side": (0, 1),
        }
        for name, (least, most) in limits.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise UsageError(f"{name} is {value}: an augmentation takes {least} to {most}")


NO_AUGMENTATION = Augmentation()

# For small models that train for minutes.
MILD_AUGMENTATION = Augmentation(flip=0.5, gain=0.1, offset=10.0, jpeg=0.3, min_quality=60)

# For full-size models; chosen here, since Zhao et al. name no augmentation.
PAPER_AUGMENTATION = Augmentation(
    flip=0.5,
    rotate=0.5,
    gain=0.2,
    offset=20.0,
    saturation=0.2,
    blur=0.2,
    downscale=0.2,
    noise=0.2,
    jpeg=0.3,
    h264=0.3,
    cut_out=0.2,
)


@dataclass(frozen=True)
class WindowChange:
    """The change drawn for one window; None and the defaults change nothing.

    Attributes:
        gain, saturation: factors.
        blur: standard deviation over the side.
        scale: the share of the size to shrink to.
        noise: standard deviation in grey levels.
        noise_seed: fixes the noise of all frames.
        crf: of H.264.
        cut_outs: `(left, top, right, bottom)`, over the side.
    """

    flip: bool = False
    angle_deg: float | None = None
    gain: float = 1.0
    offset: float = 0.0
    saturation: float = 1.0
    blur: float | None = None
    scale: float | None = None
    noise: float | None = None
    noise_seed: int = 0
    quality: int | None = None
    crf: int | None = None
    cut_outs: tuple[tuple[float, float, float, float], ...] = ()


def draw_change(augmentation: Augmentation, rng: np.random.Generator) -> WindowChange:
    """Draw the change for a window, or for both of a pair.

    Every value is drawn whether it is used or not. Changing the strength of one change therefore
    does not affect the draws of the others.
    """
    limits = augmentation

    def drawn(chance: float, least: float, most: float) -> float | None:
        happens, value = rng.random() < chance, rng.uniform(least, most)
        return float(value) if happens else None

    def around(middle: float, reach: float) -> float:
        return float(middle + rng.uniform(-1, 1) * reach)

    def whole(value: float | None) -> int | None:
        return None if value is None else int(value)

    return WindowChange(
        flip=bool(rng.random() < limits.flip),
        angle_deg=drawn(limits.rotate, -limits.max_angle_deg, limits.max_angle_deg),
        gain=around(1.0, limits.gain),
        offset=around(0.0, limits.offset),
        saturation=around(1.0, limits.saturation),
        blur=drawn(limits.blur, 0.0, limits.max_blur),
        scale=drawn(limits.downscale, limits.min_scale, 1.0),
        noise=drawn(limits.noise, 0.0, limits.max_noise),
        noise_seed=int(rng.integers(2**31)),
        quality=whole(drawn(limits.jpeg, limits.min_quality, 96)),
        crf=whole(drawn(limits.h264, limits.min_crf, limits.max_crf + 1)),
        cut_outs=_draw_cut_outs(limits, rng),
    )


def apply_change(crops: UInt8Array, change: WindowChange) -> UInt8Array:
    """Change every frame alike; only noise and codec add differences between frames.

    Args:
        crops: `(T, S, S, 3)`; they stay unchanged.
        change: from `draw_change`.

    Returns:
        The same shape, in new memory.
    """
    side_px = crops.shape[1]
    if change.flip:
        crops = _mirror(crops)
    if change.angle_deg is not None:
        crops = _rotate(crops, change.angle_deg)
    crops = _colour(crops, change)
    if change.blur is not None:
        crops = _blur(crops, change.blur * side_px)
    if change.scale is not None:
        crops = _shrink_and_back(crops, change.scale)
    if change.noise is not None:
        crops = _add_noise(crops, change.noise, change.noise_seed)
    if change.quality is not None:
        crops = compress_jpeg(crops, change.quality)
    if change.crf is not None:
        crops = compress_h264(crops, change.crf)
    for rows, columns in _rectangles(change, side_px):
        crops[:, rows, columns] = round(MIDDLE)
    return crops


def apply_to_masks(masks: FloatArray, change: WindowChange) -> FloatArray:
    """Move masks with their crops, and clear them where a crop was cut out.

    Args:
        masks: `(T, S, S)` float32, 0 to 1.
        change: the change of the crops.

    Returns:
        The same shape, in new memory.
    """
    masks = _mirror(masks) if change.flip else np.array(masks, order="C")
    if change.angle_deg is not None:
        masks = _rotate(masks, change.angle_deg)
    for rows, columns in _rectangles(change, masks.shape[1]):
        masks[:, rows, columns] = 0
    return masks


def _draw_cut_outs(
    limits: Augmentation, rng: np.random.Generator
) -> tuple[tuple[float, float, float, float], ...]:
    happens = rng.random() < limits.cut_out
    count = int(rng.integers(1, limits.max_cut_outs + 1))
    sides = rng.uniform(limits.max_cut_side / 4, limits.max_cut_side, (limits.max_cut_outs, 2))
    corners = rng.uniform(0, 1 - sides)
    boxes = np.concatenate([corners, corners + sides], axis=1)[:count].tolist()
    return tuple((left, top, right, bottom) for left, top, right, bottom in boxes if happens)


def _mirror(images: NDArray[Pixel]) -> NDArray[Pixel]:
    return np.stack([cv2.flip(image, 1) for image in images])


def _rotate(images: NDArray[Pixel], angle_deg: float) -> NDArray[Pixel]:
    height, width = images.shape[1:3]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle_deg, 1.0)
    turned = np.empty_like(images)
    for image, target in zip(images, turned, strict=True):
        cv2.warpAffine(image, matrix, (width, height), target, borderMode=cv2.BORDER_REFLECT_101)
    return turned


def _colour(crops: UInt8Array, change: WindowChange) -> UInt8Array:
    """Change saturation, contrast and brightness in one pass, so that levels are clipped once."""
    shift = MIDDLE * (1 - change.gain) + change.offset
    tall = crops.reshape(-1, *crops.shape[2:])  # all frames as one picture
    if change.saturation == 1.0:
        levels = np.clip(np.rint(np.arange(256) * change.gain + shift), 0, 255)
        return np.asarray(cv2.LUT(tall, levels.astype(np.uint8))).reshape(crops.shape)
    grey = np.full((3, 3), (1 - change.saturation) / 3)
    matrix = np.empty((3, 4), np.float32)
    matrix[:, :3] = change.gain * (grey + change.saturation * np.eye(3))
    matrix[:, 3] = shift
    return np.asarray(cv2.transform(tall, matrix)).reshape(crops.shape)


def _blur(crops: UInt8Array, sigma_px: float) -> UInt8Array:
    if sigma_px < 0.1:  # its kernel is one pixel
        return crops
    return np.stack([cv2.GaussianBlur(crop, (0, 0), sigma_px) for crop in crops])


def _shrink_and_back(crops: UInt8Array, scale: float) -> UInt8Array:
    height, width = crops.shape[1:3]
    small_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = (cv2.resize(crop, small_wh, interpolation=cv2.INTER_AREA) for crop in crops)
    return np.stack([cv2.resize(crop, (width, height)) for crop in small])


def _add_noise(crops: UInt8Array, deviation: float, seed: int) -> UInt8Array:
    """Add whole grey levels; OpenCV draws them in 7 ms at 300 px, numpy floats in 18."""
    tall = crops.reshape(-1, *crops.shape[2:])
    noise = np.empty(tall.shape, np.int16)
    cv2.setRNGSeed(seed)  # of this thread; here only `randn` draws from it
    cv2.randn(noise, (0.0, 0.0, 0.0), (deviation, deviation, deviation))
    return np.asarray(cv2.add(tall, noise, dtype=cv2.CV_8U)).reshape(crops.shape)


def _rectangles(change: WindowChange, side_px: int) -> list[tuple[slice, slice]]:
    edges = [[round(edge * side_px) for edge in box] for box in change.cut_outs]
    return [(slice(top, bottom), slice(left, right)) for left, top, right, bottom in edges]
