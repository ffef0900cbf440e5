"""Turn labelled videos into a prepared folder, reading each video once in several processes.

Every shard is written completely or not at all. Repeating the call therefore resumes an interrupted
run, and ends with the same files.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from istvt.compute import count_cores
from istvt.data.layouts.manifest import Manifest, Video, in_order
from istvt.data.prepared.crops import UnwritableError, without_path
from istvt.data.prepared.face_recipe import FaceRecipe
from istvt.data.prepared.folder import (
    FACES_FOLDER,
    Prepared,
    Unread,
    begin_prepared,
    open_prepared,
    shard_path,
    write_prepared,
)
from istvt.data.prepared.former import check_former, former_shards
from istvt.data.prepared.keys import shard_key
from istvt.data.prepared.readers import read_videos
from istvt.data.prepared.shards import VideoFaces, read_faces
from istvt.errors import DataError
from istvt.faces.mtcnn_weights import detector_folder
from istvt.lock import LOCK_FILE, locked
from istvt.records import Progress


def prepare(
    manifest: Manifest,
    out: Path,
    recipe: FaceRecipe,
    *,
    is_cache: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Crop the faces of all videos that are not in the folder yet.

    Args:
        manifest: the videos.
        out: a new folder, or one that was prepared with this recipe from this data.
        recipe: what to crop.
        is_cache: the folder serves several choices of videos in turn: all shards stay in it.
        workers: processes; None uses one per core.
        progress: called with ("faces", videos done, videos).

    Raises:
        DataError: the folder was prepared with another recipe or from other data, contains other
            files, or cannot be written.
        RuntimeEnvironmentError: the processes cannot be started.
        MissingExtraError: the face detector's packages are not installed.
    """
    manifest = _absolute(manifest)
    before = _unchanged(manifest, out, recipe, is_cache=is_cache)
    if before is not None and (is_cache or not former_shards(before)):
        return before
    try:
        begin_prepared(out, recipe)
        with locked(out) as is_alone, _swept(out, is_alone=is_alone):
            before = _open_before(out)
            found = _find_all(manifest, out, recipe, before)
            if not is_cache:
                check_former(out, before, manifest, _shards_of(found))
            entries = _read_all(manifest, found, recipe, workers or count_cores(), progress)
            prepared = write_prepared(out, recipe, manifest, entries)
            return prepared if is_cache or not is_alone else _without_former(prepared)
    except (UnwritableError, OSError) as error:
        why = error if isinstance(error, UnwritableError) else error.strerror
        raise DataError(
            f"the faces cannot be written to {out} ({why}): name another folder, one with room "
            "for them, with --out (prepare) or --cache (train, evaluate)"
        ) from error


def _unchanged(
    manifest: Manifest, out: Path, recipe: FaceRecipe, *, is_cache: bool
) -> Prepared | None:
    """Return the prepared folder if it already holds exactly this; write nothing.

    A cache ignores the notes: one caller may list more splits than another.
    """
    before = _open_before(out)
    if before is not None and is_cache:
        known = replace(before.manifest, notes=manifest.notes)
        before = replace(before, manifest=known)
    if before is None or (before.recipe, before.manifest) != (recipe, manifest):
        return None
    found = _find_all(manifest, out, recipe, before)
    is_read = len(before.videos) == len(found)  # else some may have become readable
    return before if is_read and all(isinstance(one, VideoFaces) for one in found) else None


def _read_all(
    manifest: Manifest,
    found: Sequence[VideoFaces | Unread | Path],
    recipe: FaceRecipe,
    workers: int,
    progress: Progress | None,
) -> list[VideoFaces | Unread]:
    """Read the videos whose faces are not in the folder yet."""
    paths = zip((video.path for video in manifest.videos), found, strict=True)
    jobs = {shard: path for path, shard in paths if isinstance(shard, Path)}
    total = len(manifest.videos)
    reasons: dict[Path, str | None] = {}
    tell = progress or (lambda stage, done, total: None)
    tell("faces", total - len(jobs), total)
    if jobs:
        detector_folder()  # built once here instead of in each process
    pairs = [(path, shard) for shard, path in jobs.items()]
    for shard, reason in read_videos(pairs, recipe, workers=workers):
        reasons[shard] = reason
        tell("faces", total - len(jobs) + len(reasons), total)
    return [
        _settle(video, entry, reasons) if isinstance(entry, Path) else entry
        for video, entry in zip(manifest.videos, found, strict=True)
    ]


def _find_all(
    manifest: Manifest, out: Path, recipe: FaceRecipe, before: Prepared | None
) -> list[VideoFaces | Unread | Path]:
    """Return for each video its faces, why it is unreadable, or where to write its shard."""
    known = {faces.shard.stem: faces for faces in before.videos} if before is not None else {}
    return [_find(video, out, manifest.root, recipe, known) for video in manifest.videos]


def _find(
    video: Video, out: Path, root: Path, recipe: FaceRecipe, known: Mapping[str, VideoFaces]
) -> VideoFaces | Unread | Path:
    try:
        key = shard_key(video.path, root, recipe)
    except OSError as error:
        return Unread(video, f"cannot be read: {error.strerror}")
    shard, faces = shard_path(out, key), known.get(key)
    if not shard.is_file():
        return shard
    if faces is not None and faces.num_bytes == shard.stat().st_size:
        return replace(faces, video=video)
    try:
        return read_faces(shard, video)
    except DataError:
        return shard


def _settle(video: Video, shard: Path, reasons: Mapping[Path, str | None]) -> VideoFaces | Unread:
    reason = reasons[shard]
    if reason is not None:
        return Unread(video, without_path(reason, video.path))
    return read_faces(shard, video)


def _shards_of(found: Sequence[VideoFaces | Unread | Path]) -> list[Path]:
    shards = (one.shard if isinstance(one, VideoFaces) else one for one in found)
    return [shard for shard in shards if not isinstance(shard, Unread)]


def _without_former(prepared: Prepared) -> Prepared:
    """Remove the shards that the index, now written, has replaced by others."""
    shards = former_shards(prepared)
    for shard in shards:
        shard.unlink(missing_ok=True)
    return replace(prepared, removed=len(shards))


def _open_before(out: Path) -> Prepared | None:
    with suppress(DataError):
        return open_prepared(out)
    return None


def _absolute(manifest: Manifest) -> Manifest:
    """Make all paths absolute and sort the videos, as opening the folder does."""

    def absolute(path: Path) -> Path:
        return Path(os.path.abspath(path))  # noqa: PTH100  resolve() would follow links

    videos = (
        replace(video, path=absolute(video.path), source=video.source and absolute(video.source))
        for video in manifest.videos
    )
    return replace(manifest, root=absolute(manifest.root), videos=in_order(videos))


@contextmanager
def _swept(out: Path, *, is_alone: bool) -> Iterator[None]:
    """Remove what killed writers left, where no other process can be writing."""
    try:
        if is_alone:
            _sweep(out)
        yield
    finally:
        if is_alone:
            _sweep(out)


def _sweep(out: Path) -> None:
    for left in (*out.glob(".*"), *(out / FACES_FOLDER).glob("*/.*")):
        if left.name != LOCK_FILE and left.is_file():
            left.unlink(missing_ok=True)
