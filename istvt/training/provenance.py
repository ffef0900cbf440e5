"""What a training was given, so that a resumed one goes on with the same."""

from dataclasses import dataclass
from typing import Any

from istvt.data.layouts.choose import DEFAULT, LayoutOptions


@dataclass(frozen=True)
class DataFacts:
    """Where the data is and how it is read; which videos they are is in `known`.

    Attributes:
        folder: resolved; it may be moved.
        max_frames: sampled frames read of each video; None is all.
        layout: how the folder was read.
    """

    folder: str
    max_frames: int | None = None
    layout: LayoutOptions = DEFAULT

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "DataFacts":
        """Read what `asdict` and JSON made of it."""
        layout = dict(values["layout"])
        if layout["methods"] is not None:
            layout["methods"] = tuple(layout["methods"])
        return cls(**{**values, "layout": LayoutOptions(**layout)})
