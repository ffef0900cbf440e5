"""The videos of a data folder in, what identifies them and what the splits share out."""

import hashlib
import json
import logging
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from istvt.data.manifest import Video
from istvt.errors import DataError

COMPARED_BYTES = 1 << 20
# FaceForensics++ names an original by its number, and a fake by target and source: 000, 000_003.
FFPP_NAME = re.compile(r"\d{3}(_\d{3})?")
SHOWN = 3

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataFacts:
    """What a training was given; a resumed one goes on with the same.

    Attributes:
        folder: resolved.
        videos_sha256: of the videos' paths in it, labels, splits and sizes.
        max_frames: sampled frames read of each video; None is all.
    """

    folder: str
    videos_sha256: str
    max_frames: int | None


def describe_data(folder: Path, videos: Sequence[Video], *, max_frames: int | None) -> DataFacts:
    """Sum up what goes into a training; the files themselves are not read."""
    rows = [
        (v.path.relative_to(folder).as_posix(), v.label, v.split, v.path.stat().st_size)
        for v in videos
    ]
    digest = hashlib.sha256(json.dumps(sorted(rows)).encode()).hexdigest()
    return DataFacts(str(folder.resolve()), digest, max_frames)


def refuse_copies(videos: Sequence[Video]) -> None:
    """Keep a video out of two splits; two are the same if their size and first MiB are.

    Raises:
        DataError: names the copies.
    """
    of_size: dict[int, list[Video]] = defaultdict(list)
    for video in videos:
        of_size[video.path.stat().st_size].append(video)
    of_content: dict[str, list[Video]] = defaultdict(list)
    for size, alike in of_size.items():
        for video in alike if size and _spans_splits(alike) else ():
            of_content[f"{size} {_digest(video.path)}"].append(video)
    copies = [alike for alike in of_content.values() if _spans_splits(alike)]
    if copies:
        shown = "; ".join(" = ".join(str(v.path) for v in alike) for alike in copies[:SHOWN])
        raise DataError(
            f"{len(copies)} videos are in more than one split: {shown}. What is measured on a "
            "video that was trained on says nothing: take it out of one of them"
        )


def shared_identities(videos: Sequence[Video]) -> tuple[str, ...]:
    """List the people of FaceForensics++ that more than one split shows, by their number."""
    splits: dict[str, set[str]] = defaultdict(set)
    for video in videos:
        if FFPP_NAME.fullmatch(video.path.stem):
            for identity in video.path.stem.split("_"):
                splits[identity].add(video.split)
    shared = tuple(sorted(identity for identity, where in splits.items() if len(where) > 1))
    if shared:
        log.warning(
            "%d identities are in more than one split, if the names are those of FaceForensics++ "
            "(%s): the validation then also rewards known faces",
            len(shared),
            ", ".join(shared[:SHOWN]) + (", ..." if len(shared) > SHOWN else ""),
        )
    return shared


def _spans_splits(videos: Sequence[Video]) -> bool:
    return len({video.split for video in videos}) > 1


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.sha256(stream.read(COMPARED_BYTES)).hexdigest()
