"""Put a deepfake detector (ISTVT) on the device where the camera is.

    with istvt.open_model("model.istvt") as model:
        report = model.score("clip.mp4")

`istvt.api` documents these functions.
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = [
    "Judging",
    "Model",
    "evaluate",
    "export_bundle",
    "list_videos",
    "open_model",
    "prepare",
    "train",
]

if TYPE_CHECKING:
    from istvt.api import (
        Judging,
        Model,
        evaluate,
        export_bundle,
        list_videos,
        open_model,
        prepare,
        train,
    )


def __getattr__(name: str) -> object:
    """Load the API on first use, so that `import istvt` stays quick."""
    if name in __all__:
        from istvt import api

        return getattr(api, name)
    raise AttributeError(f"module 'istvt' has no attribute {name!r}")
