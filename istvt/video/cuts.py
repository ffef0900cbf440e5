"""Pictures in, hard cuts out: cheap enough to look at every frame."""

from dataclasses import dataclass

import cv2
import numpy as np

from istvt.records import FloatArray, UInt8Array

THUMBNAIL_WH = (32, 18)
HISTOGRAM_WH = (64, 36)
COLOUR_BINS = 8  # a channel
FLAT_LEVELS = 3.0  # standard deviation of a picture with nothing in it: black, white-out, fog

# Over 1856 frames of seven recordings the change within a shot was 0.37 at most, 0.89 with two of
# three frames dropped; at a cut it was 1.16 at least, and the structure's part 0.71.
LEAST_STRUCTURE_CHANGE = 0.5
LEAST_CHANGE = 1.0


@dataclass(frozen=True, eq=False)
class _Look:
    """What is kept of a picture: grey thumbnail about its mean, and colour histogram, sum 1."""

    structure: FloatArray
    colours: FloatArray

    @property
    def is_flat(self) -> bool:
        return float(self.structure.std()) < FLAT_LEVELS


class CutDetector:
    """Compares each picture with the one before it.

    Structure is the correlation of grey thumbnails, which light and exposure leave alone; the
    colours add to it where the thumbnails do not settle it. A picture with nothing in it is
    skipped, so that a white-out or a black frame within a shot is no cut.
    """

    def __init__(self) -> None:
        self._last: _Look | None = None

    def is_cut(self, image: UInt8Array) -> bool:
        """Say whether a new shot begins with this picture `(H, W, 3)`; call it for each in turn."""
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
    """One minus the correlation: 0 for the same structure, 1 for an unrelated one."""
    shared = float((before.structure * after.structure).sum())
    norms = float(np.linalg.norm(before.structure) * np.linalg.norm(after.structure))
    return 1.0 - shared / norms
