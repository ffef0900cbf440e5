"""Draw the tracks of a frame over its picture."""

from collections.abc import Sequence
from typing import TypeAlias

import cv2
import numpy as np

from istvt.records import UInt8Array, VerdictKind
from istvt.runtime.pipeline import FrameResult, TrackView

Colour: TypeAlias = tuple[int, int, int]  # RGB
Rectangle: TypeAlias = tuple[int, int, int, int]  # left, top, right, bottom, px

FONT = cv2.FONT_HERSHEY_SIMPLEX
BLACK, WHITE = (0, 0, 0), (255, 255, 255)
COLOURS = {  # RGB; the label names the verdict too, for those who cannot see the colour
    VerdictKind.FAKE: (222, 45, 38),
    VerdictKind.REAL: (35, 139, 69),
    VerdictKind.INCONCLUSIVE: (254, 178, 76),
    VerdictKind.NO_FACE: (150, 150, 150),
}
BAR_WIDTH_RATIO = 0.02  # of the shorter side of the picture


def draw(result: FrameResult, *, footer: str = "") -> UInt8Array:
    """Draw boxes, verdicts and probability bars over a copy of the frame.

    Args:
        result: one frame with its tracks.
        footer: one line for the lower edge.

    Returns:
        `(H, W, 3)` RGB.
    """
    picture = result.frame.image.copy()
    scale = max(0.4, min(picture.shape[:2]) / 720)
    for track in result.tracks:
        _draw_box(picture, track, scale=scale)
    taken: list[Rectangle] = []
    for track in result.tracks:
        left, top, _, bottom = _whole_px(track)
        label = _Label(label_of(track), _colour_of(track), scale)
        taken.append(label.draw_at_free((left, top), below=bottom, picture=picture, taken=taken))
    if not result.tracks:
        _Label("no face", COLOURS[VerdictKind.NO_FACE], scale).draw(picture, (8, 8))
    if footer:
        _draw_footer(picture, footer, scale=scale)
    return picture


def label_of(track: TrackView) -> str:
    """Describe a track's state, short enough for a label."""
    if track.probability is None:
        return f"#{track.track_id} waiting {track.filled}/{track.needed}"
    return f"#{track.track_id} {track.kind.value} {track.probability:.0%} fake"


class _Label:
    """A line of text on a filled rectangle, kept inside the picture."""

    def __init__(self, text: str, colour: Colour, scale: float) -> None:
        self._text, self._colour, self._scale = text, colour, scale
        self._thickness = max(1, round(2 * scale))
        (width, self._ascent), descent = cv2.getTextSize(text, FONT, scale, self._thickness)
        self._padding = round(6 * scale) + 1
        self.width = width + 2 * self._padding
        self.height = self._ascent + descent + 2 * self._padding

    def draw_at_free(
        self,
        corner: tuple[int, int],
        *,
        below: int,
        picture: UInt8Array,
        taken: Sequence[Rectangle],
    ) -> Rectangle:
        """Draw where no other label is: above a box, else below it, else higher above it."""
        left, top = corner
        places = [(left, top - self.height), (left, below), (left, top - 2 * self.height)]
        inside = [self._inside(picture, place) for place in places]
        free = [place for place in inside if not any(_overlap(place, other) for other in taken)]
        return self.draw(picture, (free or inside)[0][:2])

    def draw(self, picture: UInt8Array, corner: tuple[int, int]) -> Rectangle:
        """Draw at a corner and return the filled rectangle."""
        left, top, right, bottom = place = self._inside(picture, corner)
        cv2.rectangle(picture, (left, top), (right, bottom), self._colour, cv2.FILLED)
        origin = (left + self._padding, top + self._padding + self._ascent)
        ink = _ink_on(self._colour)
        cv2.putText(
            picture, self._text, origin, FONT, self._scale, ink, self._thickness, cv2.LINE_AA
        )
        return place

    def _inside(self, picture: UInt8Array, corner: tuple[int, int]) -> Rectangle:
        left = int(np.clip(corner[0], 0, max(0, picture.shape[1] - self.width)))
        top = int(np.clip(corner[1], 0, max(0, picture.shape[0] - self.height)))
        return left, top, left + self.width, top + self.height


def _draw_box(picture: UInt8Array, track: TrackView, *, scale: float) -> None:
    left, top, right, bottom = _whole_px(track)
    colour, thickness = _colour_of(track), max(1, round(3 * scale))
    cv2.rectangle(picture, (left, top), (right, bottom), BLACK, thickness + 2, cv2.LINE_AA)
    cv2.rectangle(picture, (left, top), (right, bottom), colour, thickness, cv2.LINE_AA)
    if track.probability is not None:
        _draw_bar(picture, (right, top, bottom), track.probability, colour)


def _draw_bar(
    picture: UInt8Array, edge: tuple[int, int, int], probability: float, colour: Colour
) -> None:
    """Fill a bar beside the box from below, in proportion to the fake probability."""
    right, top, bottom = edge
    width = max(4, round(BAR_WIDTH_RATIO * min(picture.shape[:2])))
    left = right + width // 2
    level = round(bottom - probability * (bottom - top))
    cv2.rectangle(picture, (left, top), (left + width, bottom), BLACK, cv2.FILLED)
    cv2.rectangle(picture, (left, level), (left + width, bottom), colour, cv2.FILLED)


def _draw_footer(picture: UInt8Array, text: str, *, scale: float) -> None:
    scale = 0.7 * scale
    (_, height), descent = cv2.getTextSize(text, FONT, scale, 1)
    band = height + descent + 6
    picture[-band:] = picture[-band:] // 3
    origin = (6, picture.shape[0] - descent - 3)
    cv2.putText(picture, text, origin, FONT, scale, WHITE, 1, cv2.LINE_AA)


def _whole_px(track: TrackView) -> Rectangle:
    left, top, right, bottom = (round(float(edge)) for edge in track.face.box_xyxy)
    return left, top, right, bottom


def _colour_of(track: TrackView) -> Colour:
    return COLOURS[VerdictKind.NO_FACE if track.probability is None else track.kind]


def _overlap(one: Rectangle, other: Rectangle) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _ink_on(colour: Colour) -> Colour:
    red, green, blue = colour
    return BLACK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else WHITE
