"""A window of crops in, the same window with one random change on all its frames out."""

from dataclasses import dataclass

import cv2
import numpy as np

from istvt.records import UInt8Array


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a training window; probabilities are of a window, not of a frame.

    Attributes:
        flip: probability of a mirror image.
        gain: largest change of contrast, as a factor.
        offset: largest change of brightness, in grey levels.
        jpeg: probability of compression.
        min_quality: the lowest JPEG quality.
    """

    flip: float = 0.5
    gain: float = 0.1
    offset: float = 10.0
    jpeg: float = 0.3
    min_quality: int = 60


def augment_window(
    crops: UInt8Array, augmentation: Augmentation, *, rng: np.random.Generator
) -> UInt8Array:
    """Change every frame alike, so that no change between frames is added.

    Args:
        crops: `(T, S, S, 3)`.
        augmentation: what may happen.
        rng: draws it.

    Returns:
        The same shape.
    """
    if rng.random() < augmentation.flip:
        crops = crops[:, :, ::-1]
    gain = 1 + rng.uniform(-1, 1) * augmentation.gain
    offset = rng.uniform(-1, 1) * augmentation.offset
    levels = np.clip(np.rint((np.arange(256) - 127.5) * gain + 127.5 + offset), 0, 255)
    crops = levels.astype(np.uint8)[crops]
    if rng.random() < augmentation.jpeg:
        quality = int(rng.integers(augmentation.min_quality, 96))
        crops = np.stack([_compress(crop, quality) for crop in crops])
    return np.ascontiguousarray(crops)


def _compress(crop: UInt8Array, quality: int) -> UInt8Array:
    bgr = np.ascontiguousarray(crop[..., ::-1])
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    return np.asarray(decoded, dtype=np.uint8)[..., ::-1]
