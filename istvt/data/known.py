"""List the videos of a training so that they are recognised later, whatever their names.

Two videos are the same if their size and first 64 KiB match, or if their prepared faces' files do.
The videos of a prepared folder may be gone, and another machine may crop faces slightly
differently.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from istvt.data.layouts.manifest import EXAMPLES
from istvt.data.prepared.keys import shown_below
from istvt.data.prepared.shards import VideoFaces
from istvt.data.windows.index import SplitWindows
from istvt.errors import WeightsError
from istvt.files import atomic_file, sha256_of_head
from istvt.records import Progress

VIDEOS_FILE = "videos.jsonl"
HEAD_BYTES = 1 << 16  # enough to distinguish compressed files of equal size
READERS = 8


@dataclass(frozen=True)
class KnownVideo:
    """One video as a training uses it.

    Attributes:
        path: relative to the data's root, or in full if it lies elsewhere.
        frames: sampled.
        content, faces: `digest_head` of the video and of its prepared faces.
    """

    path: str
    split: str
    label: int
    method: str
    identities: tuple[str, ...]
    frames: int
    windows: int
    content: str = ""
    faces: str = ""

    @property
    def facts(self) -> tuple[object, ...]:
        """The values that decide how its windows are drawn."""
        return self.path, self.split, self.label, self.method, self.frames, self.windows


Listed = list[tuple[KnownVideo, VideoFaces]]


def list_videos(splits: Sequence[SplitWindows], root: Path) -> Listed:
    """List the videos that give windows, with their faces, without reading their content."""
    whole_root = Path(os.path.abspath(root))  # noqa: PTH100  resolve() would follow links
    return [
        (
            KnownVideo(
                path=shown_below(windows.video.path, whole_root),
                split=split.split,
                label=windows.label,
                method=windows.video.method,
                identities=windows.video.identities,
                frames=windows.faces.frames_read,
                windows=len(windows),
            ),
            windows.faces,
        )
        for split in splits
        for windows in split.videos
    ]


def digest_of(videos: Listed) -> str:
    """Hash the facts of all videos, in any order."""
    facts = sorted(video.facts for video, _ in videos)
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def write_videos(run: Path, videos: Listed, *, progress: Progress | None = None) -> None:
    """Write the list, with digests of each video's content and faces.

    Args:
        run: the folder.
        videos: what `list_videos` returned.
        progress: called with ("listing videos", done, total).
    """
    lines: list[str] = []

    def look_into(entry: tuple[KnownVideo, VideoFaces]) -> KnownVideo:
        video, faces = entry
        return replace(video, content=digest_video(faces), faces=digest_faces(faces))

    with ThreadPoolExecutor(READERS) as pool:
        for video in pool.map(look_into, videos):
            lines.append(json.dumps(asdict(video)) + "\n")
            if progress is not None:
                progress("listing videos", len(lines), len(videos))
    with atomic_file(run / VIDEOS_FILE) as temporary:
        temporary.write_text("".join(lines))


def read_videos(run: Path) -> list[KnownVideo] | None:
    """Read the list, ignoring what a later version adds to it; None if there is no list.

    Raises:
        WeightsError: it is damaged.
    """
    path = run / VIDEOS_FILE
    if not path.is_file():
        return None
    try:
        return [_video_in(json.loads(line)) for line in path.read_text().splitlines()]
    except (ValueError, TypeError, KeyError) as error:
        raise WeightsError(f"{path} is damaged or of another version: {error!r}") from error


def describe_changes(before: Sequence[KnownVideo], videos: Listed) -> str | None:
    """Count the videos that are new, missing or changed since the list was written, if any."""
    known = {video.path: video for video in before}
    now = {video.path for video, _ in videos}

    def is_changed(entry: tuple[KnownVideo, VideoFaces]) -> bool:
        video, faces = entry
        was = known.get(video.path)
        return was is not None and not (was.facts == video.facts and _is_same(was, faces))

    with ThreadPoolExecutor(READERS) as pool:
        flags = pool.map(is_changed, videos)
        changed = [video.path for (video, _), flag in zip(videos, flags, strict=True) if flag]
    parts = {
        "new": [video.path for video, _ in videos if video.path not in known],
        "missing": [path for path in known if path not in now],
        "changed": changed,
    }
    told = [f"{len(paths)} {what} ({_examples(paths)})" for what, paths in parts.items() if paths]
    return ", ".join(told) or None


def digest_video(faces: VideoFaces) -> str:
    """Identify a video by its own file."""
    return digest_head(faces.video.path)


def digest_faces(faces: VideoFaces) -> str:
    """Identify a video by the file of its faces."""
    return digest_head(faces.shard)


def digest_head(path: Path) -> str:
    """Return a file's size and the hash of its first bytes; empty if it cannot be read."""
    try:
        return f"{path.stat().st_size}-{sha256_of_head(path, HEAD_BYTES)}"
    except OSError:
        return ""


def size_in(digest: str) -> str:
    """Return the size contained in what `digest_head` returned."""
    return digest.partition("-")[0]


def _video_in(row: dict[str, Any]) -> KnownVideo:
    known = {field.name: row[field.name] for field in fields(KnownVideo) if field.name in row}
    return KnownVideo(**{**known, "identities": tuple(row["identities"])})


def _is_same(before: KnownVideo, now: VideoFaces) -> bool:
    """Compare the faces, which are trained on, and the video only if they differ."""
    if before.faces == digest_faces(now):
        return True
    return bool(before.content) and before.content == digest_video(now)


def _examples(paths: Sequence[str]) -> str:
    return ", ".join(paths[:EXAMPLES]) + (", ..." if len(paths) > EXAMPLES else "")
