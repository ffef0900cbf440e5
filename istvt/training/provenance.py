"""What a training was given, so that a resumed one goes on with the same."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from istvt.data.layouts.choose import DEFAULT, LayoutOptions
from istvt.data.prepared import is_prepared, read_recipe


@dataclass(frozen=True)
class DataFacts:
    """Where the data is and how it is read; which videos they are is in `known`.

    Attributes:
        folder: resolved; it may be moved.
        max_frames: sampled frames read of each video; None is all.
        layout: how the folder was read.
        codec: how the faces are packed: png, or jpeg with its quality.
    """

    folder: str
    max_frames: int | None = None
    layout: LayoutOptions = DEFAULT
    codec: str = "png"

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "DataFacts":
        """Read what `asdict` and JSON made of it."""
        layout = dict(values["layout"])
        if layout["methods"] is not None:
            layout["methods"] = tuple(layout["methods"])
        return cls(**{**values, "layout": LayoutOptions(**layout)})


def codec_of(data: Path) -> str:
    """Say how the faces of a prepared folder are packed; those of videos are made as png.

    Raises:
        DataError: the folder is damaged.
    """
    if not is_prepared(data):
        return "png"
    recipe = read_recipe(data)
    return recipe.codec if recipe.codec == "png" else f"{recipe.codec} {recipe.quality}"
