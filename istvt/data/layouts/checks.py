"""Check what the splits of labelled videos share, and which labels they lack."""

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from istvt.data.layouts.manifest import EXAMPLES, Label, Manifest, Note, Video, note
from istvt.errors import DataError
from istvt.files import sha256_of_head

COMPARED_BYTES = 1 << 20
# FaceForensics++ names an original by its number, and a fake by target and source: 000, 000_003.
FFPP_NAME = re.compile(r"\d{3}(_\d{3})?")

log = logging.getLogger(__name__)


def require_splits(manifest: Manifest, splits: Iterable[str]) -> None:
    """Refuse a data set in which a requested split holds no video.

    Raises:
        DataError: names the split, the videos found and those left out.
    """
    present = {video.split for video in manifest.videos}
    empty = [split for split in splits if split not in present]
    if empty:
        found = ", ".join(
            f"{c.videos} {c.split}/{c.label.name.lower()}" for c in manifest.summary()
        )
        left_out = "".join(f"\n  {one}" for one in manifest.notes)
        raise DataError(
            f"{manifest.root}, read as {manifest.layout}, has no video in {', '.join(empty)}; it "
            f"has {found or 'none at all'}{left_out}"
        )


def lacking_labels(
    videos: Iterable[Video], splits: Iterable[str], *, with_fakes: bool = True
) -> tuple[str, ...]:
    """List, as `val/fake`, each label for which a split has no video.

    Args:
        videos: of any splits.
        splits: the splits that are needed.
        with_fakes: if false, only real videos are needed, since fakes are blended from them.
    """
    there = {(video.split, video.label) for video in videos}
    needed = Label if with_fakes else (Label.REAL,)
    parts = ((split, label) for split in splits for label in needed)
    return tuple(f"{s}/{label.name.lower()}" for s, label in parts if (s, label) not in there)


def require_labels(manifest: Manifest, splits: Iterable[str], *, with_fakes: bool = True) -> None:
    """Refuse a split that has no video of a label, before anything is read.

    Raises:
        DataError: names what is missing and what was found.
    """
    lacking = lacking_labels(manifest.videos, splits, with_fakes=with_fakes)
    if not lacking:
        return
    found = ", ".join(dict.fromkeys(f"{v.split}/{v.label.name.lower()}" for v in manifest.videos))
    has_reals = not any(part.endswith("real") for part in lacking)
    raise DataError(
        f"{manifest.root}, read as {manifest.layout}, has no video in {', '.join(lacking)}; it has "
        f"{found or 'none at all'}: add some"
        + (", or make fakes of the real ones with --fakes self-blended" if has_reals else "")
    )


def refuse_conflicts(videos: Iterable[Video]) -> None:
    """Refuse a file that is listed twice, with one label or two.

    Raises:
        DataError: names the file.
    """
    seen: dict[Path, Video] = {}
    for video in videos:
        before = seen.setdefault(video.path, video)
        if before is not video:
            parts = " and ".join(f"{v.split}/{v.label.name.lower()}" for v in (before, video))
            raise DataError(f"{video.path} is listed twice, in {parts}: keep one entry per file")


def refuse_shared(manifest: Manifest) -> None:
    """Refuse splits that share people, or separate fakes from their sources.

    Raises:
        DataError: names the people or files.
    """
    for one in note_shared(manifest.videos, manifest.root):
        raise DataError(
            f"{manifest.root} cannot be read as {manifest.layout}, which keeps people apart: {one}"
        )


def note_shared(videos: Sequence[Video], root: Path) -> tuple[Note, ...]:
    """Note people who are in more than one split, and fakes separated from their source."""
    split_of = {video.path: video.split for video in videos}
    apart = [
        str(video.path).removeprefix(f"{root}/")
        for video in videos
        if video.source and split_of.get(video.source, video.split) != video.split
    ]
    return note("shared-identity", _shared(videos)) + note("shared-source", apart)


def note_shared_names(videos: Sequence[Video]) -> tuple[Note, ...]:
    """Note people in more than one split by file name, where the data set names nobody."""
    return note("shared-name", _shared_by_name(videos))


def shared_identities(videos: Sequence[Video]) -> tuple[str, ...]:
    """List the people whom more than one split shows, and warn about them.

    Where the data set names nobody, file names that look like those of FaceForensics++ are read
    as such.
    """
    named = any(video.identities for video in videos)
    shared = _shared(videos) if named else _shared_by_name(videos)
    if shared:
        log.warning(
            "%d identities are in more than one split%s (%s): the validation then also rewards "
            "known faces",
            len(shared),
            "" if named else ", if the names are those of FaceForensics++",
            ", ".join(shared[:EXAMPLES]) + (", ..." if len(shared) > EXAMPLES else ""),
        )
    return shared


def refuse_copies(videos: Sequence[Video]) -> None:
    """Refuse a video that is in two splits, or is both real and fake.

    Two files count as the same if their size and first MiB match; links are followed.

    Raises:
        DataError: names the copies.
    """
    of_size: dict[int, list[Video]] = defaultdict(list)
    for video in videos:
        of_size[video.path.stat().st_size].append(video)
    of_content: dict[str, list[Video]] = defaultdict(list)
    for size, alike in of_size.items():
        for video in alike if size and len(_places(alike)) > 1 else ():
            of_content[f"{size} {sha256_of_head(video.path, COMPARED_BYTES)}"].append(video)
    copies = [alike for alike in of_content.values() if len(_places(alike)) > 1]
    if copies:
        shown = "; ".join(" = ".join(_with_place(v) for v in alike) for alike in copies[:EXAMPLES])
        raise DataError(
            f"{len(copies)} videos are in more than one split, or real and fake at once: {shown}. "
            "A measurement on a video that was trained on, or has two labels, means nothing: "
            "keep one copy"
        )


def _shared(videos: Iterable[Video]) -> tuple[str, ...]:
    return _in_many_splits((name, video.split) for video in videos for name in video.identities)


def _shared_by_name(videos: Iterable[Video]) -> tuple[str, ...]:
    return _in_many_splits(
        (name, video.split)
        for video in videos
        if FFPP_NAME.fullmatch(video.path.stem)
        for name in video.path.stem.split("_")
    )


def _in_many_splits(shown: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    splits: dict[str, set[str]] = defaultdict(set)
    for identity, split in shown:
        splits[identity].add(split)
    return tuple(sorted(identity for identity, where in splits.items() if len(where) > 1))


def _places(videos: Sequence[Video]) -> set[tuple[str, Label]]:
    return {(video.split, video.label) for video in videos}


def _with_place(video: Video) -> str:
    return f"{video.path} ({video.split}/{video.label.name.lower()})"
