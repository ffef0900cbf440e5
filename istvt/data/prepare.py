"""Videos in, their shards out; each video is read once."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from istvt.data.crops import CropReader, Progress
from istvt.data.keys import shard_key
from istvt.data.manifest import Skipped, Video
from istvt.data.recipe import FaceRecipe
from istvt.data.shards import VideoFaces, read_faces
from istvt.errors import DataError, SourceError
from istvt.machine import count_cores
from istvt.presets import ModelConfig

CACHE_FOLDER = ".istvt-cache"


def read_crops(
    videos: Sequence[Video],
    config: ModelConfig,
    *,
    cache: Path,
    max_frames: int | None = None,
    progress: Progress | None = None,
) -> tuple[list[VideoFaces], list[Skipped]]:
    """Read every video once, from the cache where it is there."""
    recipe = FaceRecipe.of_model(config, max_frames=max_frames)
    local, stopping = threading.local(), threading.Event()

    def read(video: Video) -> VideoFaces | Skipped:
        try:
            key = shard_key(video.path, video.path.parents[2], recipe)
        except OSError as error:
            return Skipped(video.path, str(error))
        shard = cache / "faces" / key[:2] / f"{key}.safetensors"
        if not shard.is_file():
            if not hasattr(local, "reader"):
                local.reader = CropReader(recipe, stopping=stopping)
            try:
                local.reader.write(video.path, shard)
            except SourceError as error:
                return Skipped(video.path, str(error))
            except OSError as error:
                raise DataError(
                    f"the crop cache {cache} cannot be written ({error.strerror}): name another "
                    "folder for it with --cache, one with room for your videos' faces"
                ) from error
        return read_faces(shard, video)

    with ThreadPoolExecutor(count_cores()) as pool:
        jobs = [pool.submit(read, video) for video in videos]
        try:
            for done, job in enumerate(as_completed(jobs), start=1):
                job.result()
                if progress is not None:
                    progress("faces", done, len(videos))
        except BaseException:
            stopping.set()
            pool.shutdown(cancel_futures=True)
            raise
    found = [job.result() for job in jobs]
    read_ones = [item for item in found if isinstance(item, VideoFaces)]
    skipped = [item for item in found if isinstance(item, Skipped)]
    skipped += [
        Skipped(item.video.path, f"read in part only: {item.broken}")
        for item in read_ones
        if item.broken is not None
    ]
    return read_ones, skipped
