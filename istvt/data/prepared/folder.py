"""Read and write a prepared folder: the faces of a data set's videos, found through one index.

    prepared.json       recipe, data folder, layout, notes, digests of the next two; written last
    manifest.csv        every video with its label and split
    index.safetensors   of every face its track, frame, time and run, and of every video its shard
    broken.csv          videos without windows, or only partly read, with the reason
    faces/ab/*          the shards

Nothing in it depends on its location or on when it was made.
"""

import csv
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from istvt import __version__
from istvt.data.layouts.manifest import (
    Manifest,
    Note,
    Skipped,
    Video,
    read_manifest,
    write_manifest,
)
from istvt.data.prepared.face_recipe import FaceRecipe
from istvt.data.prepared.keys import code_of_crops, shown_below
from istvt.data.prepared.shards import INDEXED, VideoFaces, open_shard
from istvt.errors import DataError, UsageError
from istvt.extras import require
from istvt.files import atomic_file, sha256_of

FORMAT = 1
PREPARED_FILE = "prepared.json"
MANIFEST_FILE = "manifest.csv"
INDEX_FILE = "index.safetensors"
BROKEN_FILE = "broken.csv"
FACES_FOLDER = "faces"


@dataclass(frozen=True)
class Unread:
    """A video of which nothing could be read, and why."""

    video: Video
    reason: str


@dataclass(frozen=True, eq=False)
class Prepared:
    """A prepared data set.

    Attributes:
        manifest: every video, including those that yielded nothing.
        entries: the result for each of them, in the same order.
        removed: the number of former shards of its videos removed when this was written.
    """

    folder: Path
    recipe: FaceRecipe
    manifest: Manifest
    entries: tuple[VideoFaces | Unread, ...]
    removed: int = 0

    @cached_property
    def videos(self) -> tuple[VideoFaces, ...]:
        """The videos that could be read; some may show no face."""
        return tuple(entry for entry in self.entries if isinstance(entry, VideoFaces))

    @cached_property
    def skipped(self) -> tuple[Skipped, ...]:
        """The videos that give no window, or were only partly read, with the reason."""
        return faults_of(self.entries, self.recipe.num_frames)

    @cached_property
    def digest(self) -> str:
        """The digest of all entries, see `digest_of_entries`."""
        return digest_of_entries(self.entries, self.manifest.root)


def faults_of(entries: Sequence[VideoFaces | Unread], num_frames: int) -> tuple[Skipped, ...]:
    """List the videos that are unusable or only partly usable for windows of `num_frames`."""
    reasons = (
        (entry.video, entry.reason if isinstance(entry, Unread) else entry.fault(num_frames))
        for entry in entries
    )
    return tuple(Skipped(video.path, reason) for video, reason in reasons if reason is not None)


def digest_of_entries(entries: Iterable[VideoFaces | Unread], root: Path) -> str:
    """Hash labels, people, methods and faces; equal digests mean equal windows of equal faces.

    The digest covers where faces were seen and their packed sizes, but no date, order or location.
    It stays the same when videos are copied, moved with their data folder, or read again.

    Args:
        entries: those of a prepared folder, or some of them, for example of one split.
        root: the data folder that the videos' names are relative to; `Manifest.root`.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for one in sorted(_digest_of_entry(entry, root) for entry in entries):
        digest.update(one)
    return digest.hexdigest()


def is_prepared(folder: Path) -> bool:
    """Return whether this is a prepared folder, finished or not."""
    return (folder / PREPARED_FILE).is_file()


def read_recipe(folder: Path) -> FaceRecipe:
    """Read the recipe of a prepared folder, finished or not.

    Raises:
        DataError: it is damaged.
    """
    return FaceRecipe.from_dict(_read_facts(folder)["recipe"])


def shard_path(folder: Path, key: str) -> Path:
    """Return the path of a shard by its name."""
    return folder / f"{FACES_FOLDER}/{key[:2]}/{key}.safetensors"


def begin_prepared(folder: Path, recipe: FaceRecipe) -> None:
    """Dedicate the folder to this recipe.

    Raises:
        DataError: it has another recipe, or contains other files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if is_prepared(folder):
        before = read_recipe(folder)
        if before != recipe:
            raise DataError(
                f"{folder} was prepared with {before.differences(recipe)}: name another folder, or "
                "prepare with the same options"
            )
    elif any(path.name[0] != "." for path in folder.iterdir()):
        raise DataError(f"{folder} is not empty and holds no prepared faces: name a new folder")
    else:
        _write_json(folder / PREPARED_FILE, {"format": FORMAT, "recipe": recipe.to_dict()})


def write_prepared(
    folder: Path,
    recipe: FaceRecipe,
    manifest: Manifest,
    entries: Sequence[VideoFaces | Unread],
) -> Prepared:
    """Finish a prepared folder whose shards are all written."""
    write_manifest(folder / MANIFEST_FILE, manifest)
    _write_index(folder / INDEX_FILE, entries)
    _write_faults(folder / BROKEN_FILE, manifest.root, faults_of(entries, recipe.num_frames))
    digests = {name: sha256_of(folder / name) for name in (MANIFEST_FILE, INDEX_FILE)}
    facts = {
        "format": FORMAT,
        "recipe": recipe.to_dict(),
        "data": manifest.root.absolute().as_posix(),
        "layout": manifest.layout,
        "notes": [asdict(note) for note in manifest.notes],
        "istvt": __version__,
        "code": code_of_crops(),
        "digests": digests,
    }
    _write_json(folder / PREPARED_FILE, facts)
    return Prepared(folder, recipe, manifest, tuple(entries))


def open_prepared(folder: Path) -> Prepared:
    """Open a prepared folder, reading only its index and lists.

    Raises:
        DataError: it is not a prepared folder, was not finished, or is damaged.
    """
    if not is_prepared(folder):
        raise DataError(f"{folder} holds no prepared faces: make them with `istvt prepare`")
    facts = _read_facts(folder)
    if "digests" not in facts:
        raise DataError(f"{folder} is only partly prepared: run the same `istvt prepare` again")
    for name, digest in facts["digests"].items():
        if not (folder / name).is_file() or sha256_of(folder / name) != digest:
            raise DataError(
                f"{folder / name} is damaged or incomplete: run the same `istvt prepare` again"
            )
    read = read_manifest(folder / MANIFEST_FILE, root=Path(facts["data"]), layout=facts["layout"])
    notes = tuple(Note(**{**note, "examples": tuple(note["examples"])}) for note in facts["notes"])
    manifest = Manifest(read.root, read.layout, read.videos, notes)
    entries = _read_index(folder, manifest.videos)
    return Prepared(folder, FaceRecipe.from_dict(facts["recipe"]), manifest, entries)


def _write_index(path: Path, entries: Sequence[VideoFaces | Unread]) -> None:
    """Concatenate the faces of all videos; `offsets` holds where each video begins."""
    read = [entry for entry in entries if isinstance(entry, VideoFaces)]
    arrays: dict[str, NDArray[Any]] = {
        name: np.concatenate([np.zeros(0, dtype), *(getattr(faces, name) for faces in read)])
        for name, dtype in INDEXED.items()
    }
    arrays["offsets"] = np.cumsum([0, *map(len, read)], dtype=np.int64)
    videos = [
        {"unread": entry.reason}
        if isinstance(entry, Unread)
        else {
            "key": entry.shard.stem,
            "frames_read": entry.frames_read,
            "broken": entry.broken,
            "num_bytes": entry.num_bytes,
        }
        for entry in entries
    ]
    with atomic_file(path) as temporary:
        save_file = require("safetensors.numpy", extra="train").save_file
        save_file(arrays, temporary, metadata={"videos": json.dumps(videos)})


def _read_index(folder: Path, videos: Sequence[Video]) -> tuple[VideoFaces | Unread, ...]:
    with open_shard(folder / INDEX_FILE) as index:
        arrays = {name: index.get_tensor(name) for name in INDEXED}
        offsets = index.get_tensor("offsets").tolist()
        facts = json.loads(index.metadata()["videos"])
    entries: list[VideoFaces | Unread] = []
    bounds = pairwise(offsets)
    for video, fact in zip(videos, facts, strict=True):
        if "unread" in fact:
            entries.append(Unread(video, fact["unread"]))
            continue
        first, last = next(bounds)
        parts = {name: array[first:last] for name, array in arrays.items()}
        shard = shard_path(folder, fact.pop("key"))
        entries.append(VideoFaces(video=video, shard=shard, **parts, **fact))
    return tuple(entries)


def _write_faults(path: Path, root: Path, faults: Sequence[Skipped]) -> None:
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("path", "reason"))
        writer.writerows((shown_below(fault.path, root), fault.reason) for fault in faults)


def _read_facts(folder: Path) -> dict[str, Any]:
    path = folder / PREPARED_FILE
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        FaceRecipe.from_dict(facts["recipe"])
    except (OSError, ValueError, KeyError, TypeError, UsageError) as error:
        raise DataError(f"{path} cannot be read ({error}): prepare into a new folder") from error
    if facts.get("format") != FORMAT:
        raise DataError(
            f"{folder} is of format {facts.get('format')}, this version reads {FORMAT}: prepare "
            "the data again"
        )
    return facts


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _digest_of_entry(entry: VideoFaces | Unread, root: Path) -> bytes:
    video = entry.video
    facts: list[object] = [
        shown_below(video.path, root),
        *(int(video.label), video.split, sorted(video.identities), video.method),
        video.source and shown_below(video.source, root),
    ]
    if isinstance(entry, Unread):
        return hashlib.sha256(json.dumps([*facts, "unread"]).encode()).digest()
    facts += [entry.frames_read, entry.broken, entry.num_bytes]
    digest = hashlib.sha256(json.dumps(facts).encode())
    for name in INDEXED:
        digest.update(np.ascontiguousarray(getattr(entry, name)).tobytes())
    return digest.digest()
