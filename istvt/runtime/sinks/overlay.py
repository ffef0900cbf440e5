"""A frame and its tracks in, a picture that a person can read out."""

import cv2
import numpy as np

from istvt.records import UInt8Array, VerdictKind
from istvt.runtime.results import FrameResult, TrackView

FONT = cv2.FONT_HERSHEY_SIMPLEX
BLACK, WHITE = (0, 0, 0), (255, 255, 255)
COLOURS = {  # RGB; told apart by the word on the label too, not by the colour alone
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
        _draw_track(picture, track, scale=scale)
    if not result.tracks:
        _draw_label(picture, "no face", (8, 8), COLOURS[VerdictKind.NO_FACE], scale=scale)
    if footer:
        _draw_footer(picture, footer, scale=scale)
    return picture


def label_of(track: TrackView) -> str:
    """Say what is known of a track, short enough for a label."""
    if track.probability is None:
        return f"#{track.track_id} waiting {track.filled}/{track.needed}"
    return f"#{track.track_id} {track.kind.value} {track.probability:.0%} fake"


def _draw_track(picture: UInt8Array, track: TrackView, *, scale: float) -> None:
    is_waiting = track.probability is None
    colour = COLOURS[VerdictKind.NO_FACE if is_waiting else track.kind]
    left, top, right, bottom = (round(float(edge)) for edge in track.face.box_xyxy)
    thickness = max(1, round(3 * scale))
    cv2.rectangle(picture, (left, top), (right, bottom), BLACK, thickness + 2, cv2.LINE_AA)
    cv2.rectangle(picture, (left, top), (right, bottom), colour, thickness, cv2.LINE_AA)
    if track.probability is not None:
        _draw_bar(picture, (right, top, bottom), track.probability, colour)
    _draw_label(picture, label_of(track), (left, top), colour, scale=scale, above=True)


def _draw_bar(
    picture: UInt8Array,
    edge: tuple[int, int, int],
    probability: float,
    colour: tuple[int, int, int],
) -> None:
    """Fill a bar beside the box from below, in the share of the fake probability."""
    right, top, bottom = edge
    width = max(4, round(BAR_WIDTH_RATIO * min(picture.shape[:2])))
    left = right + width // 2
    level = round(bottom - probability * (bottom - top))
    cv2.rectangle(picture, (left, top), (left + width, bottom), BLACK, cv2.FILLED)
    cv2.rectangle(picture, (left, level), (left + width, bottom), colour, cv2.FILLED)


def _draw_label(
    picture: UInt8Array,
    text: str,
    corner: tuple[int, int],
    colour: tuple[int, int, int],
    *,
    scale: float,
    above: bool = False,
) -> None:
    thickness = max(1, round(2 * scale))
    (width, height), descent = cv2.getTextSize(text, FONT, scale, thickness)
    padding = round(6 * scale) + 1
    box_height = height + descent + 2 * padding
    left = int(np.clip(corner[0], 0, max(0, picture.shape[1] - width - 2 * padding)))
    top = corner[1] - box_height if above else corner[1]
    top = int(np.clip(top, 0, max(0, picture.shape[0] - box_height)))
    right, bottom = left + width + 2 * padding, top + box_height
    cv2.rectangle(picture, (left, top), (right, bottom), colour, cv2.FILLED)
    origin = (left + padding, top + padding + height)
    cv2.putText(picture, text, origin, FONT, scale, _ink_on(colour), thickness, cv2.LINE_AA)


def _draw_footer(picture: UInt8Array, text: str, *, scale: float) -> None:
    scale = 0.7 * scale
    (_, height), descent = cv2.getTextSize(text, FONT, scale, 1)
    band = height + descent + 6
    picture[-band:] = picture[-band:] // 3
    origin = (6, picture.shape[0] - descent - 3)
    cv2.putText(picture, text, origin, FONT, scale, WHITE, 1, cv2.LINE_AA)


def _ink_on(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    red, green, blue = colour
    return BLACK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else WHITE
