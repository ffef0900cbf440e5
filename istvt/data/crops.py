"""Videos in, their tracked face crops out; each video is read once and kept in a cache.

The cache holds two files a video: `<key>.npy`, the crops, which are mapped and not loaded, and
`<key>.json`, written last, so that a killed run leaves no half entry behind. The key covers the
file's path, size and time of change, the crop recipe, the sampling and the limit of frames.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from istvt.data.manifest import Skipped, Video
from istvt.errors import BrokenSourceError, DataError, SourceError
from istvt.files import atomic_file
from istvt.presets import ModelConfig
from istvt.records import UInt8Array

if TYPE_CHECKING:
    from istvt.faces.track import FaceTracker
    from istvt.records import Frame

CACHE_FOLDER = ".istvt-cache"
CACHE_VERSION = 1

Progress = Callable[[str, int, int], None]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class VideoCrops:
    """The largest face of each sampled frame of one video, where there was one.

    Attributes:
        pixels: the file of the crops, `(n, S, S, 3)` uint8 RGB.
        track_ids, indices: `n` each; the track and the frame's number in the video.
        times_s: `n` times in the video.
        frames_read: sampled frames, with or without a face.
        broken: why reading stopped before the declared end, or None.
    """

    video: Video
    pixels: Path
    track_ids: tuple[int, ...]
    indices: tuple[int, ...]
    times_s: tuple[float, ...]
    frames_read: int
    broken: str | None

    def load(self, rows: Sequence[int]) -> UInt8Array:
        """Read some crops: `(len(rows), S, S, 3)`. The file is open only meanwhile."""
        crops: UInt8Array = np.load(self.pixels, mmap_mode="r", allow_pickle=False)
        return np.array(crops[list(rows)])


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
    read: list[VideoCrops] = []
    skipped: list[Skipped] = []
    for done, video in enumerate(videos, start=1):
        try:
            crops = _cached(video, reader, cache)
        except SourceError as error:
            skipped.append(Skipped(video.path, str(error)))
        else:
            read.append(crops)
            if crops.broken is not None:
                skipped.append(Skipped(video.path, f"read in part only: {crops.broken}"))
        if progress is not None:
            progress("faces", done, len(videos))
    return read, skipped


class _Reader:
    """Decodes, detects, tracks and crops; builds the detector for the first video that needs it."""

    def __init__(self, config: ModelConfig, max_frames: int | None) -> None:
        self.config, self.max_frames = config, max_frames
        self._detector: Any = None

    def key(self, video: Video) -> str:
        status = video.path.stat()
        content = {
            "version": CACHE_VERSION,
            "path": str(video.path.resolve()),
            "size": status.st_size,
            "mtime_ns": status.st_mtime_ns,
            "crop": asdict(self.config.crop),
            "sampling": asdict(self.config.sampling),
            "max_frames": self.max_frames,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]

    def read(self, video: Video) -> tuple[UInt8Array, dict[str, Any]]:
        """Give the crops and the facts of a video, named as in `VideoCrops`."""
        tracker = self._new_tracker()
        faces: list[tuple[int, int, float, UInt8Array]] = []
        frames_read, broken = 0, None
        try:
            for frame in self._sampled(video.path):
                frames_read += 1
                faces.extend(_largest_face(tracker, frame))
        except BrokenSourceError as error:
            broken = str(error)
        size_px = self.config.crop.size_px
        empty = np.empty((0, size_px, size_px, 3), np.uint8)
        track_ids, indices, times_s, crops = zip(*faces, strict=True) if faces else ((),) * 4
        facts = {
            "track_ids": track_ids,
            "indices": indices,
            "times_s": times_s,
            "frames_read": frames_read,
            "broken": broken,
        }
        return np.stack(crops) if crops else empty, facts

    def _sampled(self, path: Path) -> "Iterator[Frame]":
        from istvt.video.sampling import FrameSampler
        from istvt.video.source import open_source

        sampler = FrameSampler(self.config.sampling)
        taken = 0
        with open_source(path) as source:
            for frame in source:
                if sampler.takes(frame.index, frame.time_s):
                    yield frame
                    taken += 1
                if taken == self.max_frames:
                    return

    def _new_tracker(self) -> "FaceTracker":
        from istvt.faces.mtcnn import MtcnnDetector
        from istvt.faces.track import FaceTracker

        if self._detector is None:
            self._detector = MtcnnDetector()
        return FaceTracker(self._detector, self.config.crop)


def _largest_face(
    tracker: "FaceTracker", frame: "Frame"
) -> list[tuple[int, int, float, UInt8Array]]:
    """Keep one face a frame: a bystander in a fake video is not what its label speaks of."""
    raise NotImplementedError


def _cached(video: Video, reader: _Reader, cache: Path) -> VideoCrops:
    try:
        key = reader.key(video)
    except OSError as error:
        raise SourceError(f"{video.path} cannot be read: {error.strerror}") from error
    pixels, facts = cache / f"{key}.npy", cache / f"{key}.json"
    if not (facts.is_file() and pixels.is_file()):
        crops, found = reader.read(video)
        with atomic_file(pixels) as temporary:
            np.save(temporary, crops, allow_pickle=False)
        with atomic_file(facts) as temporary:
            temporary.write_text(json.dumps({"video": str(video.path), **found}) + "\n")
    stored: dict[str, Any] = json.loads(facts.read_text())
    return VideoCrops(
        video=video,
        pixels=pixels,
        track_ids=tuple(stored["track_ids"]),
        indices=tuple(stored["indices"]),
        times_s=tuple(stored["times_s"]),
        frames_read=stored["frames_read"],
        broken=stored["broken"],
    )


def _make_folder(cache: Path) -> None:
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"the crop cache {cache} cannot be made ({error.strerror}): name another folder for it"
        ) from error
