"""Faces of a video that was never read: the arrays are given, and a real shard is written."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from istvt.data.layouts.manifest import Label, Video
from istvt.data.prepared.face_recipe import FaceRecipe
from istvt.data.prepared.shards import VideoFaces, encode_crop, read_faces, write_shard
from istvt.data.windows.index import VideoWindows, windows_of
from istvt.presets import CropRecipe, Sampling
from istvt.records import UInt8Array
from istvt.video.writer import VideoWriter

# In the unit square: eyes, nose and corners of the mouth as in a levelled crop.
LANDMARKS = np.array([[0.36, 0.4], [0.64, 0.4], [0.5, 0.5], [0.4, 0.68], [0.6, 0.68]], np.float32)


def write_video(path: Path, images: Sequence[UInt8Array], *, fps: float = 25.0) -> Path:
    """Write pictures of one size as a video."""
    height, width = images[0].shape[:2]
    with VideoWriter(path, fps=fps, size_wh=(width, height)) as writer:
        for image in images:
            writer.write(image)
    return path


def write_faces(
    folder: Path,
    video: Video,
    images: UInt8Array,
    *,
    runs: Sequence[int] | None = None,
    track_ids: Sequence[int] | None = None,
    fps: float = 25.0,
    broken: str | None = None,
) -> VideoFaces:
    """Write crops `(n, S, S, 3)` as a shard in `folder`, and give them as prepared faces.

    Args:
        runs: of each face, which run without a gap it is of; None makes one of all.
        track_ids: None takes the runs' numbers.
    """
    count, size_px = images.shape[:2]
    recipe = FaceRecipe(CropRecipe(size_px), Sampling(), num_frames=1)
    packed = [encode_crop(image, recipe) for image in images]
    chosen = np.array(runs if runs is not None else [0] * count, np.int32)
    arrays = {
        "offsets": np.cumsum([0, *map(len, packed)], dtype=np.int64),
        "times_s": np.arange(count) / fps,
        "landmarks": np.tile(LANDMARKS * size_px, (count, 1, 1)),
        "boxes_xyxy": np.tile(np.array([10, 20, 90, 120], np.float32), (count, 1)),
        "indices": np.arange(count, dtype=np.int32),
        "track_ids": np.array(track_ids if track_ids is not None else chosen, np.int32),
        "runs": chosen,
    }
    name = "-".join([*video.path.with_suffix("").parts, video.label.name.lower(), video.split])
    shard = folder / f"{name.strip('/')}.safetensors"
    write_shard(shard, arrays, packed, {"frames_read": count, "broken": broken})
    return read_faces(shard, video)


def write_windows(
    folder: Path,
    path: Path | str,
    images: UInt8Array,
    *,
    num_frames: int,
    label: Label = Label.REAL,
    split: str = "train",
    method: str = "",
    identities: tuple[str, ...] = (),
) -> VideoWindows:
    """Write crops of one video, and give all its windows; put several into `SplitWindows`."""
    video = Video(Path(path), label, split, identities=identities, method=method)
    return windows_of(write_faces(folder, video, images), num_frames)
