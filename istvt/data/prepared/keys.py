"""A video and a recipe in, the name of its shard out: equal names mean equal faces.

The name covers the video's path below its data folder, its size and time of change, the recipe,
and the code that makes crops. So a data folder may be moved, and an old shard is never taken for
a new one. Each has its part of the name, so that a name alone tells a former shard of a video, and
one that other code has made of the same file.
"""

import hashlib
import json
from functools import cache
from importlib.resources import files
from pathlib import Path

from istvt.data.prepared.face_recipe import FaceRecipe
from istvt.faces.mtcnn_weights import GRAPH_VERSION

# Decide together which crops a video gives; track.py also holds its rules and DETECT_EVERY.
SOURCES = (
    *("data/crops.py", "data/codec.py", "data/runs.py", "data/shards.py"),
    *("video/decode.py", "video/sampling.py", "video/cuts.py"),
    *("faces/mtcnn.py", "faces/area.py", "faces/boxes.py", "faces/track.py", "faces/align.py"),
)
DIGITS = 12  # of each part: the video, its file, how it was cut


def shard_key(path: Path, root: Path, recipe: FaceRecipe) -> str:
    """Name the shard of a video.

    Raises:
        OSError: the video is not there.
    """
    status = path.stat()
    video = {"path": shown_below(path, root)}
    file = {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
    cut = {"code": digest_of_code(), "graphs": GRAPH_VERSION, "recipe": recipe.to_dict()}
    parts = (json.dumps(part, sort_keys=True).encode() for part in (video, file, cut))
    return "".join(hashlib.sha256(part).hexdigest()[:DIGITS] for part in parts)


def video_part(key: str) -> str:
    """Give what the names of all shards of a video begin with."""
    return key[:DIGITS]


def file_part(key: str) -> str:
    """Give what the names of all shards of an unchanged video begin with, by whatever code."""
    return key[: 2 * DIGITS]


def shown_below(path: Path, root: Path) -> str:
    """Name a path from the data folder on where it lies below it, else as a whole."""
    try:
        return path.relative_to(root).as_posix()
    except ValueError:
        return path.resolve().as_posix()


@cache
def digest_of_code() -> str:
    """Digest the sources that decide which crops a video gives."""
    digest = hashlib.sha256()
    for name in SOURCES:
        digest.update(files("istvt").joinpath(name).read_bytes())
    return digest.hexdigest()
