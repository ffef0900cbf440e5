"""Read any data folder or CSV into a manifest."""

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from istvt.data.layouts.celebdf import LABELS as CELEBDF_FOLDERS
from istvt.data.layouts.celebdf import TEST_LIST, SharedIdentities, read_celebdf
from istvt.data.layouts.checks import refuse_conflicts, refuse_shared, require_splits
from istvt.data.layouts.dfdc import find_parts, read_dfdc
from istvt.data.layouts.ffpp import DEFAULT_COMPRESSION, FAKE_FOLDER, REAL_FOLDER, read_ffpp
from istvt.data.layouts.folder import read_folder
from istvt.data.layouts.manifest import SPLITS, Label, Manifest, Video, note
from istvt.data.layouts.scan import scan
from istvt.data.layouts.table import read_table
from istvt.errors import DataError, UsageError

Layout = Literal["auto", "ffpp", "celebdf", "dfdc", "folder", "csv"]
Compression = Literal["raw", "c23", "c40"]

EXPECTED = f"""expected one of
  ffpp     {REAL_FOLDER}/youtube/c23/videos/000.mp4, {FAKE_FOLDER}/..., splits/train.json
  celebdf  Celeb-real/, YouTube-real/, Celeb-synthesis/, {TEST_LIST}
  dfdc     metadata.json with its videos, or dfdc_train_part_*/metadata.json
  folder   {{train,val,test}}/{{real,fake}}/*.mp4
  csv      a file with the columns path,label[,split,identity,method,source]"""


@dataclass(frozen=True)
class LayoutOptions:
    """How a data set is read.

    Attributes:
        layout: `auto` recognises it by its folders.
        compression: of FaceForensics++: raw, c23 or c40; None uses c23.
        methods: the fakes to take; None uses all.
        seed: decides the splits where the data set has none of its own.
        shared_identities: of Celeb-DF, see `layouts.celebdf`: `drop` keeps people apart, `keep`
            tests on the official list.
    """

    layout: Layout = "auto"
    compression: Compression | None = None
    methods: tuple[str, ...] | None = None
    seed: int = 0
    shared_identities: SharedIdentities = "drop"

    def __post_init__(self) -> None:
        if self.layout not in get_args(Layout):
            raise UsageError(f"layout is {self.layout!r}, {EXPECTED}\nor auto")


DEFAULT = LayoutOptions()


def read_layout(
    data: Path,
    options: LayoutOptions = DEFAULT,
    *,
    splits: tuple[str, ...] | None = None,
    needed: tuple[str, ...] | None = None,
) -> Manifest:
    """Read a data set by file names alone, without opening a video.

    Args:
        data: a folder in one of the layouts, or a CSV.
        options: how to read it.
        splits: which to list; None uses those found.
        needed: those of them that must hold a video; None is all of `splits`.

    Raises:
        DataError: the layout is unknown or ambiguous, its lists are wrong, a needed split is
            empty, or splits share people against the layout's rules.
    """
    unknown = [split for split in splits or () if split not in SPLITS]
    if unknown:
        raise UsageError(f"split {unknown[0]!r} is not one of {', '.join(SPLITS)}")
    layout = find_layout(data) if options.layout == "auto" else options.layout
    manifest = _without_unreadable(_read(data, layout, options, splits or SPLITS))
    manifest = take_methods(manifest, options.methods)
    refuse_conflicts(manifest.videos)
    if _keeps_people_apart(layout, options):
        refuse_shared(manifest)
    require_splits(manifest, needed or splits or _any_of(manifest))
    return manifest


def _without_unreadable(manifest: Manifest) -> Manifest:
    """Leave out, with a note, names that are not valid UTF-8: Python reads them, but no list can.

    A fake is left out with its source, which the lists name too.
    """
    kept = tuple(video for video in manifest.videos if _is_in_text(video))
    if len(kept) == len(manifest.videos):
        return manifest
    readable = set(kept)
    names = [os.path.relpath(v.path, manifest.root) for v in manifest.videos if v not in readable]
    return replace(manifest, videos=kept, notes=manifest.notes + note("unreadable-name", names))


def _is_in_text(video: Video) -> bool:
    try:
        "\n".join((str(video.path), str(video.source), *video.identities)).encode()
    except UnicodeEncodeError:
        return False
    return True


def find_layout(data: Path) -> Layout:
    """Recognise the layout by its marks.

    Raises:
        DataError: the path is missing, or the marks fit no layout or two.
    """
    if data.is_file() and data.suffix.lower() == ".csv":
        return "csv"
    if not data.is_dir():
        raise DataError(f"{data} is neither a folder nor a CSV, {EXPECTED}")
    names = scan(data)
    marks: dict[Layout, Callable[[], bool]] = {
        "ffpp": lambda: _has(names.folders, (REAL_FOLDER, FAKE_FOLDER)),
        "celebdf": lambda: _has(names.folders, CELEBDF_FOLDERS),
        "dfdc": lambda: bool(find_parts(data)),
        "folder": lambda: _has(names.folders, SPLITS),
    }
    found = [layout for layout, is_there in marks.items() if is_there()]
    if len(found) != 1:
        why = f"looks like {' and '.join(found)}: name the layout" if found else "fits no layout"
        raise DataError(f"{data} {why}; it holds {names}; {EXPECTED}")
    return found[0]


def _read(data: Path, layout: Layout, options: LayoutOptions, splits: tuple[str, ...]) -> Manifest:
    seed = options.seed
    match layout:
        case "ffpp":
            compression = options.compression or DEFAULT_COMPRESSION
            return read_ffpp(data, compression=compression, methods=options.methods, splits=splits)
        case "celebdf":
            shared = options.shared_identities
            return read_celebdf(data, seed=seed, shared_identities=shared, splits=splits)
        case "dfdc":
            return read_dfdc(data, seed=seed, splits=splits)
        case "csv":
            return read_table(data, seed=seed, splits=splits)
        case _:
            return read_folder(data, splits=splits)


def take_methods(manifest: Manifest, methods: Collection[str] | None) -> Manifest:
    """Leave out the fakes of other methods; real videos stay.

    Raises:
        DataError: names a method that made no fake here, and the methods found.
    """
    if methods is None:
        return manifest
    found = {video.method for video in manifest.videos if video.label is Label.FAKE}
    unknown = sorted(set(methods) - found)
    if unknown:
        names = ", ".join(sorted(found - {""})) or "none by name"
        raise DataError(
            f"no fake of {manifest.root} is by {', '.join(unknown)}: its methods are {names}"
        )
    kept = (v for v in manifest.videos if v.label is Label.REAL or v.method in methods)
    return replace(manifest, videos=tuple(kept))


def _keeps_people_apart(layout: Layout, options: LayoutOptions) -> bool:
    is_dropped = options.shared_identities == "drop"
    return layout in ("ffpp", "dfdc") or (layout == "celebdf" and is_dropped)


def _any_of(manifest: Manifest) -> tuple[str, ...]:
    """Request all splits if the data set has none, so that an empty one is refused."""
    return () if manifest.videos else SPLITS


def _has(names: Collection[str], marks: Collection[str]) -> bool:
    return any(mark in names for mark in marks)
