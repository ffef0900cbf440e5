"""Read the DeepFake Detection Challenge's data into a manifest.

    metadata.json               {"a.mp4": {"label": "FAKE", "split": "train", "original": "b.mp4"}}
    a.mp4  b.mp4  ...

These lie in the folder itself or in each `dfdc_train_part_*` below it. An original and all fakes
made from it form a group, wherever they lie. A hash of the original's name assigns groups to train,
val and test, 8 : 1 : 1 on average. The file's own `split` is `train` for every video and is not
read. The data set does not name its people, so a group's original stands for them. Two groups may
therefore show one person.

Source: Dolhansky et al., The DeepFake Detection Challenge (DFDC) Dataset, arXiv 2006.07397.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from istvt.data.layouts.divide import divide
from istvt.data.layouts.manifest import SPLITS, Label, Manifest, Video, in_order, note
from istvt.data.layouts.scan import Listing, scan
from istvt.errors import DataError

METADATA = "metadata.json"
PART = "dfdc_train_part_"
FORM = '{"a.mp4": {"label": "FAKE", "split": "train", "original": "b.mp4"}, ...}'


@dataclass(frozen=True)
class _Entry:
    """A line of a metadata file; `original` is the video itself if it is real."""

    folder: Path
    name: str
    label: Label
    original: str

    @property
    def path(self) -> Path:
        return self.folder / self.name


def find_parts(data: Path) -> list[Path]:
    """List the folders that hold a metadata file: the folder itself, or those inside it."""
    parts = [data / name for name in scan(data).folders if name.startswith(PART)]
    return [part for part in (data, *parts) if (part / METADATA).is_file()]


def read_dfdc(data: Path, *, seed: int = 0, splits: tuple[str, ...] = SPLITS) -> Manifest:
    """Split the data by original.

    Args:
        data: the folder that holds `metadata.json`, or the `dfdc_train_part_*` folders.
        seed: another seed gives other splits.
        splits: the splits to read.

    Raises:
        DataError: there is no metadata, or a metadata file has the wrong form.
    """
    parts = [scan(folder) for folder in find_parts(data)]
    if not parts:
        raise DataError(f"{data} has no {METADATA}, nor a {PART}*/{METADATA}: found {scan(data)}")
    entries = [_read_metadata(part.folder / METADATA) for part in parts]
    every = [entry for its in entries for entry in its]
    _check_labels(every)
    labels_of: dict[str, set[Label]] = defaultdict(set)
    for entry in every:
        labels_of[entry.original].add(entry.label)
    division = divide(labels_of, seed, splits=SPLITS)
    split_of = division.split_of
    there, missing, unknown = _look_for(data, parts, entries)
    path_of = {entry.name: entry.path for entry in there}
    videos = [
        Video(
            path=path_of[entry.name],
            label=entry.label,
            split=split_of[entry.original],
            identities=(Path(entry.original).stem,),
            source=path_of.get(entry.original) if entry.label is Label.FAKE else None,
        )
        for entry in there
        if split_of[entry.original] in splits
    ]
    orphans = [v.path for v in videos if v.label is Label.FAKE and v.source is None]
    notes = (
        *note("missing-video", _below(data, missing)),
        *note("unknown-file", _below(data, unknown)),
        *note("no-original", _below(data, orphans)),
        *note("moved-group", division.moved),
        *note("original-as-identity", {name for video in videos for name in video.identities}),
    )
    return Manifest(data, "dfdc", in_order(videos), notes)


def _look_for(
    data: Path, parts: Sequence[Listing], entries: Sequence[Sequence[_Entry]]
) -> tuple[list[_Entry], list[Path], list[Path]]:
    """Return entries with files, paths of missing files, and files in no metadata."""
    there: list[_Entry] = []
    missing: list[Path] = []
    unknown = {data / name for name in scan(data).folders if name.startswith(PART)}
    for part, its in zip(parts, entries, strict=True):
        on_disk, named = set(part.videos), {entry.name for entry in its}
        there += [entry for entry in its if entry.name in on_disk]
        missing += [entry.path for entry in its if entry.name not in on_disk]
        strays = (on_disk - named).union(part.others, part.folders) - {METADATA}
        unknown.update(part.paths(strays))
    return there, missing, sorted(unknown - {part.folder for part in parts})


def _read_metadata(path: Path) -> list[_Entry]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}; expected {FORM}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds a {type(content).__name__}: expected {FORM}")
    return [_parse_entry(path, name, facts) for name, facts in content.items()]


def _parse_entry(path: Path, name: str, facts: object) -> _Entry:
    if not isinstance(facts, dict) or str(facts.get("label")) not in Label.__members__:
        raise DataError(f"{path}: {name} is {facts}, expected a label REAL or FAKE, as in {FORM}")
    label = Label[facts["label"]]
    original = facts.get("original") if label is Label.FAKE else name
    if not isinstance(original, str):
        raise DataError(f"{path}: the fake {name} names no original ({facts}); expected {FORM}")
    return _Entry(path.parent, name, label, original)


def _check_labels(entries: Sequence[_Entry]) -> None:
    """Refuse a name that is listed twice, and a fake that is listed as an original."""
    seen: dict[str, _Entry] = {}
    for entry in entries:
        before = seen.setdefault(entry.name, entry)
        if before is not entry:
            where = f"{before.label.name} in {before.folder}, {entry.label.name} in {entry.folder}"
            raise DataError(f"{entry.name} is listed twice, {where}: remove one from its metadata")
    for entry in entries:
        original = seen.get(entry.original)
        if original is not None and original.label is Label.FAKE:
            raise DataError(
                f"{entry.folder / METADATA}: the original of {entry.name} is {entry.original}, "
                "which is FAKE itself: an original is REAL"
            )


def _below(data: Path, paths: Iterable[Path]) -> list[Path]:
    return [path.relative_to(data) for path in paths]
