"""Read the plain layout `{train,val,test}/{real,fake}/*.mp4` into a manifest.

A folder below `fake` names the method that made its videos: `train/fake/Deepfakes/*.mp4`. A data
set of real videos alone has no `fake` folders. People are not named.
"""

from pathlib import Path

from istvt.data.layouts.checks import note_shared_names
from istvt.data.layouts.manifest import SPLITS, Label, Manifest, Video, in_order, note
from istvt.data.layouts.scan import scan
from istvt.errors import DataError

LAYOUT = "{train,val,test}/{real,fake}/*.{mp4,avi,mov,...}"


def read_folder(data: Path, *, splits: tuple[str, ...] = SPLITS) -> Manifest:
    """Read those of the requested splits that exist.

    Raises:
        DataError: the folder is missing.
    """
    if not data.is_dir():
        raise DataError(f"{data} is not a folder: expected {LAYOUT} below it")
    videos: list[Video] = []
    unknown: list[Path] = []
    for split in splits:
        top = scan(data / split)
        classes = {label.name.lower() for label in Label}
        unknown += top.paths([*top.videos, *(name for name in top.folders if name not in classes)])
        for label in Label:
            found, left_out = _scan_class(data, split, label)
            videos += found
            unknown += left_out
    notes = note("unknown-file", (path.relative_to(data) for path in unknown))
    notes += note_shared_names(videos)
    return Manifest(data, "folder", in_order(videos), notes)


def _scan_class(data: Path, split: str, label: Label) -> tuple[list[Video], list[Path]]:
    """List the videos of one class, and the paths left out."""
    top = scan(data / split / label.name.lower())
    videos = [Video(path, label, split) for path in top.paths(top.videos)]
    unknown = top.paths(top.others)
    if label is Label.REAL:
        return videos, unknown + top.paths(top.folders)
    for method in top.folders:
        part = scan(top.folder / method)
        videos += [Video(path, label, split, method=method) for path in part.paths(part.videos)]
        unknown += part.paths([*part.others, *part.folders])
    return videos, unknown
