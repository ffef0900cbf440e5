"""The record of one labelled video, and what was left out of a data set and why."""

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path


class Label(IntEnum):
    """The training target; above a logit of 0 the model says fake."""

    REAL = 0
    FAKE = 1


SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Video:
    """One labelled video.

    Attributes:
        path: the file; it is also the video's key, since names repeat between folders.
        split: one of `SPLITS`.
    """

    path: Path
    label: Label
    split: str


@dataclass(frozen=True)
class Skipped:
    """A video, or the rest of one, that gives no windows, and why."""

    path: Path
    reason: str
