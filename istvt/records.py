"""Define the records that pass between rooms: frozen values without behaviour."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Generic, Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

UInt8Array: TypeAlias = NDArray[np.uint8]
FloatArray: TypeAlias = NDArray[np.float32]

FloatPrecision: TypeAlias = Literal["fp32", "fp16", "bf16"]
Precision: TypeAlias = Literal["fp32", "fp16", "bf16", "int8"]
Fakes: TypeAlias = Literal["real", "self-blended", "mixed"]
"""Where fake windows come from: the data, blends of its real frames, or both."""
Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with (stage, done, total); a total of 0 names a stage that cannot be counted."""


def ignore(stage: str, done: int, total: int) -> None:
    """Do nothing: the `Progress` of callers who want none."""


Item = TypeVar("Item")


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a source.

    Attributes:
        image: `(H, W, 3)` RGB, upright.
        index: position in the source, counted from 0 over all decoded frames.
        time_s: seconds since the source's start (files) or since it was opened (live).
        source: the source's printable name, without user and password.
        captured_at: when a live source captured it, in Unix seconds; None in a file.
        starts_anew: nothing before this frame can be continued: the source reconnected, or its
            pictures changed size. `index` and `time_s` may have restarted.
    """

    image: UInt8Array
    index: int
    time_s: float
    source: str
    captured_at: float | None = None
    starts_anew: bool = False


@dataclass(frozen=True, eq=False)
class Face:
    """One face found in one frame.

    Attributes:
        box_xyxy: `(4,)` float px in the frame.
        landmarks: `(5, 2)` float px: left eye, right eye, nose tip, left and right corner of the
            mouth. Left and right are as seen in the picture.
        confidence: the detector's, 0 to 1.
        crop: `(S, S, 3)` uint8 RGB; None until the face is cropped.
    """

    box_xyxy: FloatArray
    landmarks: FloatArray
    confidence: float
    crop: UInt8Array | None = None

    @property
    def area_px(self) -> float:
        """The area of the box."""
        left, top, right, bottom = self.box_xyxy
        return float((right - left) * (bottom - top))


@dataclass(frozen=True)
class Window(Generic[Item]):
    """`num_frames` consecutive sampled crops or features of one track; never spans a gap."""

    track_id: int
    items: tuple[Item, ...]
    times_s: tuple[float, ...]


@dataclass(frozen=True)
class Score:
    """How fake a window looks.

    Attributes:
        logit: the model's output; above 0 leans to fake.
        fake_probability: 0 to 1; calibrated, or the plain sigmoid of the logit.
        calibrated: whether the bundle has a calibration that was applied.
    """

    logit: float
    fake_probability: float
    calibrated: bool


class VerdictKind(str, Enum):
    """The kinds of verdicts on a track or a source."""

    FAKE = "fake"
    REAL = "real"
    INCONCLUSIVE = "inconclusive"
    NO_FACE = "no-face"


@dataclass(frozen=True)
class Verdict:
    """A verdict on a track or a source, with its time span and its reason.

    Attributes:
        score: the mean over the windows; None if no window was scored.
        track_id: None for a verdict on a whole source.
        windows: the number of scored windows.
    """

    kind: VerdictKind
    score: Score | None
    track_id: int | None
    start_s: float
    end_s: float
    reason: str
    windows: int = 0


@dataclass(frozen=True, eq=False)
class Relevance:
    """Two maps `(T, H, W)` of where and when the evidence is, in the model's own units."""

    spatial: FloatArray
    temporal: FloatArray
