"""Find the evaluated videos and people that a run was trained on.

Results on videos and people that a model was trained on say nothing about others.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from istvt.data.known import KnownVideo, digest_faces, digest_video, size_in
from istvt.data.prepared.keys import shown_below
from istvt.data.prepared.shards import VideoFaces

MADE_WITH = {"train": "its weights were learnt", "val": "its best epoch was chosen"}


@dataclass(frozen=True)
class Overlap:
    """What an evaluation shares with the training.

    Attributes:
        videos: the evaluated videos that the run has too, and its split for them.
        people: named in both; data sets that number their people may share names but nobody.
        num_unseen: videos, of both, whose files are gone: only their faces identify them.
    """

    videos: dict[str, str]
    people: tuple[str, ...]
    num_unseen: int


def find_overlap(
    known: Sequence[KnownVideo] | None, videos: Sequence[VideoFaces], root: Path
) -> Overlap | None:
    """Find a run's videos and people among those evaluated; None if it does not list its own.

    A video is read only if one of the run's has its size.

    Args:
        known: the run's videos, from `read_videos`.
        videos: to be evaluated.
        root: their data's folder; names are relative to it.
    """
    if known is None:
        return None
    split_of = {digest: v.split for v in known for digest in (v.content, v.faces) if digest}
    sizes = set(map(size_in, split_of))
    found, num_unseen = {}, sum(not video.content for video in known)
    for faces in videos:
        size = _size_of(faces.video.path)
        num_unseen += not size
        digests = [digest_video(faces)] if size in sizes else []
        digests += [digest_faces(faces)] if str(faces.num_bytes) in sizes else []
        splits = [split_of[digest] for digest in digests if digest in split_of]
        if splits:
            found[shown_below(faces.video.path, root)] = splits[0]
    people = {name for video in known for name in video.identities}
    named = {name for faces in videos for name in faces.video.identities}
    return Overlap(found, tuple(sorted(people & named)), num_unseen)


def format_overlap(overlap: Overlap | None, run: Path, *, videos: int) -> Iterator[str]:
    """Yield lines that describe the overlap with the `videos` evaluated; none if all are new."""
    if overlap is None:
        yield (
            f"{run} does not list the videos that it was trained on: it is unknown whether these "
            "are among them"
        )
        return
    for split, count in sorted(Counter(overlap.videos.values()).items()):
        yield (
            f"WARNING: of these {videos} videos, {run} has {count} in its {split} split, on which "
            f"{MADE_WITH[split]}"
        )
    if overlap.people:
        yield (
            f"WARNING: names of people that are both here and in the data of {run}: "
            f"{len(overlap.people)}; if both data sets mean the same people by them, known faces "
            "are rewarded"
        )
    if overlap.videos or overlap.people:
        yield "to learn how it does on unknown videos, measure on others"
    if overlap.num_unseen:
        yield (
            f"videos, here and of {run}, that exist only as prepared faces: {overlap.num_unseen}; "
            "a copy that was prepared differently is not recognised"
        )


def _size_of(path: Path) -> str:
    """Return the size in bytes; empty if there is no such file."""
    try:
        return str(path.stat().st_size)
    except OSError:
        return ""
