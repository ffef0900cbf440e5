"""Videos in, their tracked face crops out; each video is read once and kept in a cache.

The cache holds two files a video: `<key>.rgb`, the crops one after another, of which only what is
needed is read, and `<key>.json`, written last, so that a killed run leaves no half entry behind.
The key covers the video's path, size and time of change, the crop recipe, the sampling, the
limit of frames, and the code that makes crops, so that an old cache is not taken for a new one.
"""

import hashlib
import json
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cache as cached
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from istvt.data.manifest import Skipped, Video
from istvt.errors import BrokenSourceError, DataError, SourceError
from istvt.faces.mtcnn_weights import GRAPH_VERSION
from istvt.files import atomic_file
from istvt.machine import count_cores
from istvt.presets import ModelConfig
from istvt.records import UInt8Array
from istvt.video.sampling import FrameSampler

if TYPE_CHECKING:
    from istvt.faces.track import FaceTracker, TrackedFace
    from istvt.records import Frame

CACHE_FOLDER = ".istvt-cache"
# Decide together which crops a video gives; track.py also holds its rules and DETECT_EVERY.
SOURCES = (
    *("data/crops.py", "video/decode.py", "video/sampling.py", "video/cuts.py"),
    *("faces/mtcnn.py", "faces/area.py", "faces/boxes.py", "faces/track.py", "faces/align.py"),
)
MAX_WORKERS = 8  # videos read side by side, each with a detector of its own

Progress = Callable[[str, int, int], None]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class VideoCrops:
    """One face of each sampled frame of one video, where it was in sight.

    A bystander in a fake video is not what its label speaks of, so the others are left out: it is
    the largest face at first, and again whenever its track has ended.

    Attributes:
        pixels: the file of the crops, `(n, S, S, 3)` uint8 RGB without a header.
        size_px: S.
        track_ids, indices: `n` each; the track and the frame's number in the video.
        times_s: `n` times in the video.
        frames_read: sampled frames, with or without a face.
        broken: why reading stopped before the declared end, or None.
    """

    video: Video
    pixels: Path
    size_px: int
    track_ids: tuple[int, ...]
    indices: tuple[int, ...]
    times_s: tuple[float, ...]
    frames_read: int
    broken: str | None

    def load(self, rows: Sequence[int]) -> UInt8Array:
        """Read some crops: `(len(rows), S, S, 3)`. The file is open only meanwhile."""
        shape = (len(self.indices), self.size_px, self.size_px, 3)
        return np.array(np.memmap(self.pixels, np.uint8, "r", shape=shape)[list(rows)])

    @property
    def is_whole(self) -> bool:
        """Whether the file of the crops has the size it must have."""
        expected = len(self.indices) * self.size_px**2 * 3
        return self.pixels.is_file() and self.pixels.stat().st_size == expected


def read_crops(
    videos: Sequence[Video],
    config: ModelConfig,
    *,
    cache: Path,
    max_frames: int | None = None,
    progress: Progress | None = None,
) -> tuple[list[VideoCrops], list[Skipped]]:
    """Read every video once, from the cache where it is there.

    Args:
        videos: what to read.
        config: its crop recipe and sampling are used.
        cache: the folder of crops; made where it is missing.
        max_frames: sampled frames read from each video, from its start; None reads all.
        progress: told ("faces", videos done, videos).

    Returns:
        One entry a readable video, and what could not be read, or only in part, with the reason.

    Raises:
        DataError: the cache cannot be written.
    """
    _make_folder(cache)
    reader = _Reader(config, max_frames)
    with ThreadPoolExecutor(_count_workers()) as pool:
        jobs = [pool.submit(_cached_or_reason, video, reader, cache) for video in videos]
        try:
            for done, job in enumerate(as_completed(jobs), start=1):
                job.result()
                if progress is not None:
                    progress("faces", done, len(videos))
        except BaseException:
            reader.stopping.set()
            pool.shutdown(cancel_futures=True)
            raise
    found = [job.result() for job in jobs]
    read = [item for item in found if isinstance(item, VideoCrops)]
    skipped = [item for item in found if isinstance(item, Skipped)]
    skipped += [
        Skipped(item.video.path, f"read in part only: {item.broken}")
        for item in read
        if item.broken is not None
    ]
    return read, skipped


def _count_workers() -> int:
    return min(count_cores(), MAX_WORKERS)


class _Reader:
    """Decodes, detects, tracks and crops; each thread builds its detector when it needs one.

    Attributes:
        stopping: once set, every reading ends at its next frame.
    """

    def __init__(self, config: ModelConfig, max_frames: int | None) -> None:
        self.config, self.max_frames = config, max_frames
        self.stopping = threading.Event()
        self._of_thread = threading.local()

    def key(self, video: Video) -> str:
        status = video.path.stat()
        content = {
            "code": _digest_of_code(),
            "graphs": GRAPH_VERSION,
            "path": str(video.path.resolve()),
            "size": status.st_size,
            "mtime_ns": status.st_mtime_ns,
            "crop": asdict(self.config.crop),
            "sampling": asdict(self.config.sampling),
            "max_frames": self.max_frames,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]

    def read(self, video: Video, pixels: BinaryIO) -> dict[str, Any]:
        """Write the crops of a video as they come, and give its facts, named as in `VideoCrops`."""
        from istvt.faces.align import cut_face

        found: list[tuple[int, int, float]] = []
        frames_read, broken = 0, None
        try:
            for frame, tracked in self._sampled_faces(video.path):
                frames_read += 1
                if tracked is not None:
                    pixels.write(cut_face(frame.image, tracked.face, self.config.crop).tobytes())
                    found.append((tracked.track_id, frame.index, frame.time_s))
        except BrokenSourceError as error:
            broken = str(error)
        return {
            "size_px": self.config.crop.size_px,
            "track_ids": [track_id for track_id, _, _ in found],
            "indices": [index for _, index, _ in found],
            "times_s": [time_s for _, _, time_s in found],
            "frames_read": frames_read,
            "broken": broken,
        }

    def _sampled_faces(self, path: Path) -> "Iterator[tuple[Frame, TrackedFace | None]]":
        """Follow the faces over every frame, as streaming does, and give the sampled ones."""
        from istvt.video.cuts import CutDetector
        from istvt.video.source import open_source

        sampler, cuts, tracker = FrameSampler(self.config.sampling), CutDetector(), self._tracker()
        taken, chosen = 0, None
        with open_source(path) as source:
            for frame in source:
                if self.stopping.is_set():
                    raise CancelledError
                if cuts.is_cut(frame.image):
                    tracker.reset()
                faces = tracker.update(frame)
                if chosen not in tracker.ids:
                    chosen = faces[0].track_id if faces else None
                if sampler.takes(frame.index, frame.time_s):
                    yield frame, next((face for face in faces if face.track_id == chosen), None)
                    taken += 1
                if taken == self.max_frames:
                    return

    def _tracker(self) -> "FaceTracker":
        from istvt.faces.mtcnn import MtcnnDetector
        from istvt.faces.track import FaceTracker

        if not hasattr(self._of_thread, "detector"):
            min_face_px = self.config.crop.min_face_px
            self._of_thread.detector = MtcnnDetector(min_face_px=min_face_px, threads=1)
        return FaceTracker(self._of_thread.detector)


@cached
def _digest_of_code() -> str:
    digest = hashlib.sha256()
    for name in SOURCES:
        digest.update(files("istvt").joinpath(name).read_bytes())
    return digest.hexdigest()


def _cached_or_reason(video: Video, reader: _Reader, cache: Path) -> VideoCrops | Skipped:
    try:
        return _cached(video, reader, cache)
    except SourceError as error:
        return Skipped(video.path, str(error))


def _cached(video: Video, reader: _Reader, cache: Path) -> VideoCrops:
    try:
        key = reader.key(video)
    except OSError as error:
        raise SourceError(f"{video.path} cannot be read: {error.strerror}") from error
    pixels, facts = cache / f"{key}.rgb", cache / f"{key}.json"
    if facts.is_file() and (stored := _load(video, pixels, facts)).is_whole:
        return stored
    try:
        with atomic_file(pixels) as temporary, temporary.open("wb") as stream:
            found = reader.read(video, stream)
        with atomic_file(facts) as temporary:
            temporary.write_text(json.dumps(found) + "\n")
    except OSError as error:
        raise _unwritable(cache, error) from error
    return _load(video, pixels, facts)


def _load(video: Video, pixels: Path, facts: Path) -> VideoCrops:
    stored: dict[str, Any] = json.loads(facts.read_text())
    for name in ("track_ids", "indices", "times_s"):
        stored[name] = tuple(stored[name])
    return VideoCrops(video=video, pixels=pixels, **stored)


def _make_folder(cache: Path) -> None:
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(cache, error) from error


def _unwritable(cache: Path, error: OSError) -> DataError:
    return DataError(
        f"the crop cache {cache} cannot be written ({error.strerror}): name another folder for it "
        "with --cache, one with room for your videos' faces"
    )
