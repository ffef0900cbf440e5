"""Describe labelled videos, and read and write them as one CSV.

The columns are path, label, split, identity, method and source. Every layout is read into a
`Manifest`. Its notes record what was left out or needs a warning, each with a name, a count and a
few examples.
"""

import csv
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from istvt.errors import DataError
from istvt.files import atomic_file


class Label(IntEnum):
    """The training target; a logit above 0 means fake."""

    REAL = 0
    FAKE = 1


SPLITS = ("train", "val", "test")
TRAINING_SPLITS = SPLITS[:2]
COLUMNS = ("path", "label", "split", "identity", "method", "source")
EXAMPLES = 3
NOTES = {
    "missing-video": "videos that the data set's own lists name are not on disk",
    "unknown-file": "files or folders do not belong to this layout and are left out",
    "outside-splits": "videos are in no split's list and are left out",
    "no-official-split": "videos of DeepFakeDetection's actors have no official split: left out",
    "other-compression": "methods have no videos in this compression",
    "no-original": "fakes whose original is not on disk",
    "original-as-identity": "originals stand for the people, whom DFDC does not name: two of them "
    "may show the same person",
    "shared-identity": "people are in more than one split: known faces are rewarded too",
    "shared-name": "people are in more than one split, if the files' names are those of "
    "FaceForensics++",
    "shared-source": "fakes are in another split than the video they were made from",
    "dropped-identity": "videos are left out, since they would put a person into two splits",
    "dropped-test-list": "videos of the official test list are left out, since they show people "
    "of train or val: figures are not comparable with those on the whole list",
    "unnamed": "videos name nobody: each is taken for another person",
    "moved-group": "groups were moved into a split that would have lacked a label: more data may "
    "move them back",
    "held-out-by-files": "splits hold out people by the files present, since too few show those "
    "that the test list gives: more files may change who they are",
    "moved-split": "videos are in another split than when this folder was prepared: earlier runs "
    "may have been trained on what is now held out",
    "moved-data": "folder held the videos when they were prepared, but another one does now",
    "unreadable-name": "videos or their sources have a name that is not UTF-8 and are left "
    "out: rename them, for example with convmv",
    "unknown-column": "columns are not read",
}

_TOO_MANY = "\0"  # no column has this name
_JOINTS = re.compile(r"[;+]")
_LABELS = {"real": Label.REAL, "0": Label.REAL, "fake": Label.FAKE, "1": Label.FAKE}


@dataclass(frozen=True)
class Video:
    """One labelled video.

    Attributes:
        path: the file; it is also the video's key, since names repeat between folders.
        split: one of `SPLITS`.
        identities: the people it shows, as the data set names them; empty where it does not say.
        method: how the fake was made; empty for a real video, or if it is unknown.
        source: path of the real video that the fake was made from, or None.
    """

    path: Path
    label: Label
    split: str
    identities: tuple[str, ...] = ()
    method: str = ""
    source: Path | None = None


@dataclass(frozen=True)
class Skipped:
    """A video, or the rest of one, that yields no windows, and why."""

    path: Path
    reason: str

    def to_dict(self) -> dict[str, str]:
        """Return what JSON can hold."""
        return {"path": str(self.path), "reason": self.reason}


@dataclass(frozen=True)
class Note:
    """A named warning about a data set; `kind` is one of `NOTES`."""

    kind: str
    count: int
    examples: tuple[str, ...]

    def __str__(self) -> str:
        more = ", ..." if self.count > len(self.examples) else ""
        return f"{self.kind}: {self.count} {NOTES[self.kind]} ({', '.join(self.examples)}{more})"


@dataclass(frozen=True)
class Count:
    """The number of videos, and of named people, in one split, label and method."""

    split: str
    label: Label
    method: str
    videos: int
    identities: int


@dataclass(frozen=True)
class Manifest:
    """A data set: its videos in order of split, label and path, and notes about it.

    Attributes:
        root: the data folder, or the CSV's.
        layout: `ffpp`, `celebdf`, `dfdc`, `folder` or `csv`.
    """

    root: Path
    layout: str
    videos: tuple[Video, ...]
    notes: tuple[Note, ...] = ()

    def of_split(self, split: str) -> tuple[Video, ...]:
        """Return the videos of one split."""
        return tuple(video for video in self.videos if video.split == split)

    def summary(self) -> tuple[Count, ...]:
        """Count by split, label and method, in this order."""
        people: dict[tuple[str, Label, str], set[str]] = defaultdict(set)
        counts: Counter[tuple[str, Label, str]] = Counter()
        for video in self.videos:
            part = video.split, video.label, video.method
            counts[part] += 1
            people[part].update(video.identities)
        parts = sorted(counts, key=lambda part: (SPLITS.index(part[0]), *part[1:]))
        return tuple(Count(*part, counts[part], len(people[part])) for part in parts)


def note(kind: str, items: Iterable[object]) -> tuple[Note, ...]:
    """Return one note of all items, in order, or none if there are no items."""
    names = sorted(str(item).encode(errors="backslashreplace").decode() for item in items)
    return (Note(kind, len(names), tuple(names[:EXAMPLES])),) if names else ()


def in_order(videos: Iterable[Video]) -> tuple[Video, ...]:
    """Sort by split, label and path, so that nothing depends on the file system."""
    return tuple(sorted(videos, key=lambda v: (SPLITS.index(v.split), v.label, os.fspath(v.path))))


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write the CSV, with paths below the manifest's root relative to it.

    `read_manifest` resolves them from the CSV's folder, or from its argument `root`.

    Raises:
        DataError: an identity's name contains a character that separates identities.
    """
    root = _absolute(manifest.root).rstrip("/") + "/"
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(_to_row(video, root) for video in manifest.videos)


def read_manifest(path: Path, *, root: Path | None = None, layout: str = "csv") -> Manifest:
    """Read what `write_manifest` wrote, or a user's own table with the same columns.

    The files are not checked. `path`, `label` and `split` are required; `layouts.table` reads
    tables without splits and makes them.

    Args:
        path: the CSV.
        root: what its paths are relative to; None means its folder.
        layout: the manifest's layout name.

    Raises:
        DataError: names the line that is wrong.
    """
    videos, notes = parse_table(path, root=root)
    if not videos[0].split:
        raise DataError(f"{path} has no column `split`: expected {','.join(COLUMNS)}")
    return Manifest(root or path.parent, layout, in_order(videos), notes)


def parse_table(path: Path, *, root: Path | None = None) -> tuple[list[Video], tuple[Note, ...]]:
    """Read a CSV row by row; without a column `split`, the videos' splits are empty.

    Raises:
        DataError: names the line that is wrong.
    """
    seen: dict[Path, tuple[int, Video]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as table:
            reader = csv.DictReader(table, restkey=_TOO_MANY, strict=True)
            columns = _check_header(path, reader.fieldnames or ())
            for row in reader:
                where = f"{path}, line {reader.line_num}"
                video = _to_video(row, root or path.parent, where)
                if video.path in seen:
                    raise _double(where, video, *seen[video.path])
                seen[video.path] = reader.line_num, video
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a CSV in UTF-8: {error}") from error
    if not seen:
        raise DataError(f"{path} holds no video: expected a header and one row a video")
    return [video for _, video in seen.values()], note("unknown-column", columns - set(COLUMNS))


def _check_header(path: Path, names: Sequence[str]) -> set[str]:
    columns = set(names)
    if not {"path", "label"} <= columns or len(columns) < len(names):
        raise DataError(
            f"{path}, line 1: the header is `{','.join(names)}`, expected each once, of "
            f"{','.join(COLUMNS)}, separated by commas; only path and label are required"
        )
    return columns


def _to_video(row: dict[str, str], root: Path, where: str) -> Video:
    if _TOO_MANY in row or None in row.values():
        raise DataError(f"{where}: not as many fields as the header; quote a field with a comma")
    cells = {name: value.strip() for name, value in row.items()}
    if not cells["path"]:
        raise DataError(f"{where}: the path is empty")
    label = _LABELS.get(cells["label"].lower())
    if label is None:
        raise DataError(f"{where}: label is {cells['label']!r}, expected real, fake, 0 or 1 (fake)")
    split = cells.get("split", "").lower()
    if split not in SPLITS and "split" in cells:
        raise DataError(f"{where}: split is {split!r}, expected {', '.join(SPLITS)}")
    source = cells.get("source")
    return Video(
        path=_below(root, cells["path"]),
        label=label,
        split=split,
        identities=tuple(x.strip() for x in _JOINTS.split(cells.get("identity", "")) if x.strip()),
        method=cells.get("method", ""),
        source=_below(root, source) if source else None,
    )


def _to_row(video: Video, root: str) -> tuple[str, ...]:
    joined = [name for name in video.identities if _JOINTS.search(name)]
    if joined:
        raise DataError(f"{video.path}: identity {joined[0]!r} holds ; or +, which separate names")
    return (
        _absolute(video.path).removeprefix(root),
        video.label.name.lower(),
        video.split,
        ";".join(video.identities),
        video.method,
        _absolute(video.source).removeprefix(root) if video.source else "",
    )


def _double(where: str, video: Video, line: int, before: Video) -> DataError:
    if video.label != before.label:
        labels = f"as {video.label.name.lower()} here and {before.label.name.lower()} there"
        return DataError(f"{where}: {video.path} is in line {line} too, {labels}: keep one")
    return DataError(f"{where}: {video.path} is in line {line} too: keep one of the two")


def _below(root: Path, path: str) -> Path:
    whole = path if path.startswith("/") else f"{root}/{path}"
    return Path(os.path.normpath(whole))  # one name for one file, links left as they are


def _absolute(path: Path) -> str:
    whole = path if path.is_absolute() else Path.cwd() / path
    return os.path.normpath(whole)  # resolve() would follow links
