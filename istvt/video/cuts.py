"""Detect hard cuts, cheaply enough to check every frame."""

from dataclasses import dataclass

import cv2
import numpy as np

from istvt.records import FloatArray, UInt8Array

THUMBNAIL_WH = (32, 18)
HISTOGRAM_WH = (64, 36)
COLOUR_BINS = 8  # per channel
FLAT_LEVELS = 3.0  # a frame of lower standard deviation is empty: black, white-out, fog

# Measured on 1856 frames of seven recordings. The change within a shot was at most 0.37, or 0.89
# with two of three frames dropped. At a cut it was at least 1.16, its structure at least 0.71.
LEAST_STRUCTURE_CHANGE = 0.5
LEAST_CHANGE = 1.0


@dataclass(frozen=True, eq=False)
class _Look:
    """A frame's features: grey thumbnail minus its mean, and colour histogram with sum 1."""

    structure: FloatArray
    colours: FloatArray

    @property
    def is_flat(self) -> bool:
        return float(self.structure.std()) < FLAT_LEVELS


class CutDetector:
    """Compares each frame with the previous one.

    Structure is the correlation of grey thumbnails, which light and exposure do not change. Colours
    settle doubtful cases. Empty frames are skipped, so that a white-out or a black frame within a
    shot is not a cut.
    """

    def __init__(self) -> None:
        self._last: _Look | None = None

    def is_cut(self, image: UInt8Array) -> bool:
        """Check whether a shot begins with this frame `(H, W, 3)`; call it once per frame."""
        look = _look_at(image)
        if look.is_flat:
            return False
        last, self._last = self._last, look
        if last is None:
            return False
        structure = _structure_change(last, look)
        colours = float(np.abs(last.colours - look.colours).sum())  # 0 to 2
        return structure > LEAST_STRUCTURE_CHANGE and structure + colours > LEAST_CHANGE


def _look_at(image: UInt8Array) -> _Look:
    small = cv2.resize(image, HISTOGRAM_WH, interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    thumbnail = cv2.resize(grey, THUMBNAIL_WH, interpolation=cv2.INTER_AREA).astype(np.float32)
    bins, ranges = [COLOUR_BINS] * 3, [0, 256] * 3
    colours = cv2.calcHist([small], [0, 1, 2], None, bins, ranges).ravel()
    return _Look(structure=thumbnail - thumbnail.mean(), colours=colours / colours.sum())


def _structure_change(before: _Look, after: _Look) -> float:
    """Return one minus the correlation: 0 for the same structure, 1 for an unrelated one."""
    shared = float((before.structure * after.structure).sum())
    norms = float(np.linalg.norm(before.structure) * np.linalg.norm(after.structure))
    return 1.0 - shared / norms
