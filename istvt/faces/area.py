"""Resize an image, or boxes of it, by area averages from one summed-area table.

Averages cover whole pixels, as in adaptive average pooling. Output i of n over length L covers the
pixels from floor(i L / n) up to, but excluding, ceil((i + 1) L / n).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from istvt.records import FloatArray, UInt8Array

IntArray = NDArray[np.int64]


class AreaTable:
    """Sum any rectangle of one image with four look-ups.

    Sums wrap around at 32 bits in large images. Their differences stay exact, because no averaged
    window holds 2**31 / 255 pixels.
    """

    def __init__(self, image: UInt8Array) -> None:
        self.height, self.width = image.shape[:2]
        self._sums = np.stack([cv2.integral(plane) for plane in cv2.split(image)])

    def resized(self, height: int, width: int) -> FloatArray:
        """Shrink the whole image to `(1, 3, height, width)`, values 0 to 255."""
        top, bottom = _edges(np.array([self.height]), height)
        left, right = _edges(np.array([self.width]), width)
        weight = _weights(top, bottom, left, right)[0]
        averaged = np.empty((1, 3, height, width), np.float32)
        for plane, sums in zip(averaged[0], self._sums, strict=True):
            rows = sums[bottom[0]] - sums[top[0]]
            np.multiply(rows.take(right[0], 1) - rows.take(left[0], 1), weight, out=plane)
        return averaged

    def cut(self, boxes_px: IntArray, size: int) -> FloatArray:
        """Cut out boxes and resize each to the same size.

        Args:
            boxes_px: `(n, 4)` x0, y0, x1, y1, not empty, inside the image, ends excluded.
            size: side of each result, px.

        Returns:
            `(n, 3, size, size)`, values 0 to 255.
        """
        top, bottom = _edges(boxes_px[:, 3] - boxes_px[:, 1], size, start=boxes_px[:, 1])
        left, right = _edges(boxes_px[:, 2] - boxes_px[:, 0], size, start=boxes_px[:, 0])
        weight = _weights(top, bottom, left, right)
        row_length = self.width + 1
        top, bottom = top[:, :, None] * row_length, bottom[:, :, None] * row_length
        left, right = left[:, None, :], right[:, None, :]
        corners = [(bottom + right), (top + right), (bottom + left), (top + left)]
        averaged = np.empty((len(boxes_px), 3, size, size), np.float32)
        for channel, sums in enumerate(self._sums.reshape(3, -1)):
            total = sums.take(corners[0], mode="clip")
            total -= sums.take(corners[1], mode="clip")
            total -= sums.take(corners[2], mode="clip")
            total += sums.take(corners[3], mode="clip")
            np.multiply(total, weight, out=averaged[:, channel])
        return averaged


def _edges(lengths: IntArray, size: int, *, start: IntArray | int = 0) -> tuple[IntArray, IntArray]:
    """Return the first and past-the-last pixel `(n, size)` of every output along one axis."""
    steps = np.arange(size)
    begin = (steps * lengths[:, None]) // size
    end = -(-(steps + 1) * lengths[:, None] // size)
    offset = np.broadcast_to(start, lengths.shape)[:, None]
    return begin + offset, end + offset


def _weights(top: IntArray, bottom: IntArray, left: IntArray, right: IntArray) -> FloatArray:
    """Return one over the number of pixels in every window: `(n, rows, columns)`."""
    counts = (bottom - top)[:, :, None] * (right - left)[:, None, :]
    return (1.0 / counts).astype(np.float32)
