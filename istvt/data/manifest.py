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
        identities: the people it shows, as the data set names them; empty where it does not say.
        method: how the fake was made; empty for a real video, or where it is not known.
        source: path of the real video that the fake was made from, or None.
    """

    path: Path
    label: Label
    split: str
    identities: tuple[str, ...] = ()
    method: str = ""
    source: Path | None = None


@dataclass(frozen=True)
class Skipped:
    """A video, or the rest of one, that gives no windows, and why."""

    path: Path
    reason: str
