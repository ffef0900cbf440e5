"""Check whether data may be prepared into a folder that already holds prepared data.

A folder belongs to one data set, which may grow, shrink to half, and move. Each video has one
shard; shards left by its former file or by older code are removed. The shards of videos that are
not listed or not readable stay, since the videos may return.
"""

import logging
from collections.abc import Iterable
from pathlib import Path

from istvt.data.layouts.manifest import Manifest, note
from istvt.data.prepared.folder import FACES_FOLDER, Prepared
from istvt.data.prepared.keys import file_part, shown_below, video_part
from istvt.errors import DataError

log = logging.getLogger(__name__)


def check_former(
    out: Path, before: Prepared | None, manifest: Manifest, shards: Iterable[Path]
) -> None:
    """Keep one folder for one data set, and warn about its changes.

    Args:
        out: the folder.
        before: its former content, if that was finished.
        manifest: the data to prepare.
        shards: where the faces of the readable videos are or will be.

    Raises:
        DataError: less than half of the folder's content belongs to this data.
    """
    files = _files(shards)
    if before is None:
        there = _files(shards_in(out))
        kept = len(files & there)
        if 2 * kept < min(len(files), len(there)):
            raise _other_data(out, f"{len(there)} videos, not finished", kept, manifest)
        return
    former, split_of, now = before.manifest, _splits(before.manifest), _splits(manifest)
    is_moved = former.root != manifest.root
    if is_moved:  # names like 000.mp4 prove nothing
        there = _files(faces.shard for faces in before.videos)
        known, kept = len(there), len(files & there)
    else:
        known, kept = len(split_of), len(split_of.keys() & now.keys())
    if former.layout != manifest.layout or 2 * kept < known:
        such_as = min(split_of, default="none")
        what = f"{known} videos of {former.root}, read as {former.layout}, such as {such_as}"
        raise _other_data(out, what, kept, manifest)
    both = sorted(split_of.keys() & now.keys())
    notes = note("moved-data", (former.root,) if is_moved else ())
    notes += note(
        "moved-split",
        (f"{name} {split_of[name]} -> {now[name]}" for name in both if split_of[name] != now[name]),
    )
    for one in notes:
        log.warning("%s: %s", out, one)


def shards_in(out: Path) -> set[Path]:
    """List the complete shards of a folder."""
    return set((out / FACES_FOLDER).glob("??/[!.]*.safetensors"))


def former_shards(prepared: Prepared) -> set[Path]:
    """List the shards of videos that have another shard now."""
    named = {faces.shard for faces in prepared.videos}
    videos = {video_part(shard.stem) for shard in named}
    others = shards_in(prepared.folder) - named
    return {shard for shard in others if video_part(shard.stem) in videos}


def _files(shards: Iterable[Path]) -> set[str]:
    return {file_part(shard.stem) for shard in shards}


def _splits(manifest: Manifest) -> dict[str, str]:
    return {shown_below(video.path, manifest.root): video.split for video in manifest.videos}


def _other_data(out: Path, what: str, kept: int, manifest: Manifest) -> DataError:
    return DataError(
        f"{out} holds the faces of {what}; by name, size and date {kept} of them are among the "
        f"{len(manifest.videos)} of {manifest.root}, read as {manifest.layout}: name another "
        "folder, or remove this one"
    )
