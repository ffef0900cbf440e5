"""Crop the tracked faces of one video and pack them into a shard."""

import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from istvt.data.prepared.face_recipe import FaceRecipe
from istvt.data.prepared.shards import encode_crop, evenly, window_starts, write_shard
from istvt.errors import BrokenSourceError, DataError
from istvt.files import atomic_file
from istvt.records import FloatArray
from istvt.video.sampling import FrameSampler

if TYPE_CHECKING:
    from istvt.faces.track import TrackedFace
    from istvt.records import Frame


class UnwritableError(DataError):
    """A shard cannot be written."""


IN_MEMORY_BYTES = 64 << 20  # of one video's packed crops; those of a longer one spill to a file


@dataclass(frozen=True, eq=False)
class _Cut:
    """A cropped face: where it was seen, and where its packed crop is stored."""

    track_id: int
    index: int
    time_s: float
    run: int
    landmarks: FloatArray
    box_xyxy: FloatArray
    start: int
    end: int


class CropReader:
    """Decodes, detects, tracks, crops and packs, with one detector for all its videos.

    Args:
        recipe: what to crop.
        stopping: once set, reading ends at the next frame with `CancelledError`.
        decode_threads: None lets FFmpeg use one thread per core.
    """

    def __init__(
        self,
        recipe: FaceRecipe,
        *,
        stopping: threading.Event | None = None,
        decode_threads: int | None = None,
    ) -> None:
        from istvt.faces.mtcnn import MtcnnDetector

        self.recipe, self._decode_threads = recipe, decode_threads
        self._stopping = stopping or threading.Event()
        self._detector = MtcnnDetector(min_face_px=recipe.crop.min_face_px, threads=1)

    def write(self, path: Path, shard: Path) -> None:
        """Read a video and write its shard, complete or not at all.

        Raises:
            SourceError: nothing of the video can be read.
            UnwritableError: the shard cannot be written; the video is not at fault.
        """
        with _writing(shard):
            shard.parent.mkdir(parents=True, exist_ok=True)
        with SpooledTemporaryFile(IN_MEMORY_BYTES, dir=str(shard.parent)) as pool:
            cuts, facts = self._cut(path, pool)
            if self.recipe.windows_per_video is not None:
                cuts = _thinned(cuts, self.recipe.num_frames, self.recipe.windows_per_video)
            with _writing(shard), atomic_file(shard) as temporary:
                write_shard(temporary, _arrays(cuts), _packed(cuts, pool), facts)

    def _cut(self, path: Path, pool: IO[bytes]) -> tuple[list[_Cut], dict[str, object]]:
        """Write the packed crops of a video into `pool` one after another."""
        cuts: list[_Cut] = []
        frames_read, broken = 0, None
        sampler = FrameSampler(self.recipe.sampling)
        try:
            for frame, tracked in self._sampled_faces(path, sampler):
                frames_read += 1
                if tracked is not None:
                    run = _run(cuts, frame, tracked, sampler)
                    cuts.append(self._pack(frame, tracked, pool, run))
        except BrokenSourceError as error:
            broken = without_path(str(error), path)
        return cuts, {"frames_read": frames_read, "broken": broken}

    def _pack(self, frame: "Frame", tracked: "TrackedFace", pool: IO[bytes], run: int) -> _Cut:
        from istvt.faces.align import crop_square, cut_face, image_to_crop

        face, crop = tracked.face, self.recipe.crop
        packed = encode_crop(cut_face(frame.image, face, crop), self.recipe)
        start = pool.tell()
        with _writing("the temporary file of crops"):
            pool.write(packed)
        return _Cut(
            track_id=tracked.track_id,
            index=frame.index,
            time_s=frame.time_s,
            run=run,
            landmarks=image_to_crop(face.landmarks, crop_square(face, crop), crop.size_px),
            box_xyxy=face.box_xyxy,
            start=start,
            end=start + len(packed),
        )

    def _sampled_faces(
        self, path: Path, sampler: FrameSampler
    ) -> "Iterator[tuple[Frame, TrackedFace | None]]":
        """Track the faces through every frame, as streaming does, and yield the sampled ones."""
        from istvt.faces.track import FaceTracker
        from istvt.video.cuts import CutDetector
        from istvt.video.source import open_source

        cuts, tracker = CutDetector(), FaceTracker(self._detector)
        taken, chosen = 0, None
        with open_source(path, decode_threads=self._decode_threads) as source:
            for frame in source:
                if self._stopping.is_set():
                    raise CancelledError
                if cuts.is_cut(frame.image):
                    tracker.reset()
                faces = tracker.update(frame)
                if chosen not in tracker.ids:
                    chosen = faces[0].track_id if faces else None
                if sampler.takes(frame.index, frame.time_s):
                    yield frame, next((face for face in faces if face.track_id == chosen), None)
                    taken += 1
                if taken == self.recipe.max_frames:
                    return


def without_path(message: str, path: Path) -> str:
    """Remove a video's folder from a message, which is stored while data sets may move."""
    return message.removeprefix(f"{path}: ").replace(str(path), path.name)


@contextmanager
def _writing(what: Path | str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnwritableError(f"{what} cannot be written ({error.strerror})") from error


def _run(cuts: list[_Cut], frame: "Frame", tracked: "TrackedFace", sampler: FrameSampler) -> int:
    """Number the run of a face: the last face's run, unless a gap or another track intervenes."""
    if not cuts:
        return 0
    last, now = cuts[-1], (frame.index, frame.time_s)
    goes_on = tracked.track_id == last.track_id and not sampler.is_gap(
        (last.index, last.time_s), now
    )
    return last.run if goes_on else last.run + 1


def _thinned(cuts: list[_Cut], num_frames: int, windows: int) -> list[_Cut]:
    """Keep the faces of `windows` evenly spread windows; a run with gaps becomes several runs."""
    runs = np.array([cut.run for cut in cuts], np.int32)
    starts = window_starts(runs, num_frames)
    if not len(starts):
        return cuts
    kept = np.zeros(len(cuts), bool)
    for at in evenly(len(starts), windows):
        kept[starts[at] : starts[at] + num_frames] = True
    rows = np.flatnonzero(kept)
    is_new = (np.diff(rows) > 1) | (np.diff(runs[rows]) > 0)
    renumbered = np.concatenate([[0], np.cumsum(is_new)])
    return [replace(cuts[row], run=int(run)) for row, run in zip(rows, renumbered, strict=False)]


def _arrays(cuts: list[_Cut]) -> dict[str, NDArray[np.generic]]:
    lengths = [cut.end - cut.start for cut in cuts]
    return {
        "offsets": np.cumsum([0, *lengths], dtype=np.int64),
        "times_s": np.array([cut.time_s for cut in cuts], np.float64),
        "landmarks": np.array([cut.landmarks for cut in cuts], np.float32).reshape(-1, 5, 2),
        "boxes_xyxy": np.array([cut.box_xyxy for cut in cuts], np.float32).reshape(-1, 4),
        "indices": np.array([cut.index for cut in cuts], np.int32),
        "track_ids": np.array([cut.track_id for cut in cuts], np.int32),
        "runs": np.array([cut.run for cut in cuts], np.int32),
    }


def _packed(cuts: list[_Cut], pool: IO[bytes]) -> Iterator[bytes]:
    for cut in cuts:
        pool.seek(cut.start)
        yield pool.read(cut.end - cut.start)
