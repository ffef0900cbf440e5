"""Name a video's shard after everything that decides its crops: equal names mean equal faces.

The name covers the video's path below its data folder, its size and its modification time. It also
covers the recipe and the version of the code that makes crops. So a data folder may move, and
an old shard is never mistaken for a new one. The name has three segments. They show which shards
are of the same video, and which are of the same file but of other code.
"""

import hashlib
import json
from pathlib import Path

from istvt.data.prepared.face_recipe import FaceRecipe
from istvt.faces.mtcnn_weights import GRAPH_VERSION

# Add 1 when the same video gives other crops: all prepared data are then cropped again. It covers
# the code in data, video and faces; tests/data/prepared/test_golden_crops.py
# compares the crops of a clip.
CROPS_VERSION = 1
# Shards were once named after a digest of the code. This is the one that became version 1.
DIGEST_OF_VERSION_1 = "3234ed6b61f7d793276839d3f441612c9e6caf644a728491ed404f8c47b28dd9"
DIGITS = 12  # of each segment: the video, its file, how it was cropped


def shard_key(path: Path, root: Path, recipe: FaceRecipe) -> str:
    """Name the shard of a video.

    Raises:
        OSError: the video is missing.
    """
    status = path.stat()
    video = {"path": shown_below(path, root)}
    file = {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
    cut = {"code": code_of_crops(), "graphs": GRAPH_VERSION, "recipe": recipe.to_dict()}
    parts = (json.dumps(part, sort_keys=True).encode() for part in (video, file, cut))
    return "".join(hashlib.sha256(part).hexdigest()[:DIGITS] for part in parts)


def video_part(key: str) -> str:
    """Return the segment that the names of all shards of a video begin with."""
    return key[:DIGITS]


def file_part(key: str) -> str:
    """Return the beginning that all shard names of an unchanged video share, in any version."""
    return key[: 2 * DIGITS]


def shown_below(path: Path, root: Path) -> str:
    """Name a path relative to the data folder if it lies below it, else in full."""
    try:
        return path.relative_to(root).as_posix()
    except ValueError:
        return path.resolve().as_posix()


def code_of_crops() -> str:
    """Return the version of the code that makes crops, as shard names and folders record it."""
    return DIGEST_OF_VERSION_1 if CROPS_VERSION == 1 else f"crops {CROPS_VERSION}"
