"""Read FaceForensics++ into a manifest.

    original_sequences/youtube/{raw,c23,c40}/videos/000.mp4
    manipulated_sequences/{Deepfakes,Face2Face,...}/{raw,c23,c40}/videos/000_003.mp4
    splits/{train,val,test}.json        lists of pairs: [["720", "672"], ...]

A pair yields both originals and, for each method, both fakes. `A_B` is the video of A with the face
of B, or moved by it. The videos of DeepFakeDetection (`original_sequences/actors` and
`manipulated_sequences/DeepFakeDetection`) show other people and are in no official split. They are
left out with a note.

Source: Rössler et al., FaceForensics++, ICCV 2019; the authors' repository ondyari/FaceForensics.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from istvt.data.layouts.manifest import SPLITS, Label, Manifest, Note, Video, in_order, note
from istvt.data.layouts.scan import Listing, scan
from istvt.errors import DataError

COMPRESSIONS = ("raw", "c23", "c40")
DEFAULT_COMPRESSION = "c23"
REAL_FOLDER = "original_sequences"
FAKE_FOLDER = "manipulated_sequences"
OTHER_PEOPLE = "DeepFakeDetection"
SPLIT_FORM = 'a list of pairs of three-digit names, as in [["720", "672"], ["939", "115"]]'

_NAME = re.compile(r"\d{3}")


@dataclass(frozen=True)
class _Part:
    """The official videos of one folder, and files that are unexpected or missing."""

    videos: tuple[tuple[Path, str], ...]  # with their split
    missing: tuple[Path, ...]
    outside: tuple[Path, ...]
    unknown: tuple[Path, ...]


def read_ffpp(
    data: Path,
    *,
    compression: str = DEFAULT_COMPRESSION,
    methods: Sequence[str] | None = None,
    splits: tuple[str, ...] = SPLITS,
) -> Manifest:
    """Read the official splits.

    Args:
        data: the folder that holds `original_sequences`.
        compression: one of `COMPRESSIONS`.
        methods: folders below `manipulated_sequences`; None uses all that exist.
        splits: the splits to read.

    Raises:
        DataError: the split lists are missing or wrong, or a method or compression is missing.
    """
    if compression not in COMPRESSIONS:
        raise DataError(f"compression is {compression!r}, expected {', '.join(COMPRESSIONS)}")
    split_of = _read_lists(data)
    fakes, lacking = _find_methods(data, compression, methods)
    videos_of = scan(data / REAL_FOLDER / "youtube" / compression / "videos")
    if not videos_of.videos and not fakes:
        raise _wrong_compression(data, compression)
    real = _match(videos_of, split_of, splits, is_fake=False)
    original = {path.stem: path for path, _ in real.videos}
    videos = [Video(path, Label.REAL, split, (path.stem,)) for path, split in real.videos]
    parts = {name: _match(part, split_of, splits, is_fake=True) for name, part in fakes.items()}
    for method, part in parts.items():
        for path, split in part.videos:
            target, donor = path.stem.split("_")
            source = original.get(target)
            videos.append(Video(path, Label.FAKE, split, (target, donor), method, source))
    notes = (
        *_note_parts(data, [real, *parts.values()]),
        *note("no-official-split", _list_other_people(data, compression)),
        *note("other-compression", lacking),
    )
    return Manifest(data, "ffpp", in_order(videos), notes)


def compressions_of(videos: Iterable[Video]) -> list[str]:
    """List the compressions of these videos, recognised by their paths."""
    return sorted({video.path.parent.parent.name for video in videos})


def _read_lists(data: Path) -> dict[str, str]:
    """Return the split of each video's name: originals (`000`) and fakes (`000_003`)."""
    split_of: dict[str, str] = {}
    for split in SPLITS:
        path = _find_list(data, split)
        for pair in _parse_list(path):
            for name in (*pair, "_".join(pair), "_".join(reversed(pair))):
                if split_of.setdefault(name, split) != split:
                    raise DataError(
                        f"{path} names {name}, which {split_of[name]}.json in the same folder "
                        "names too: copy the lists unchanged from the data set's repository"
                    )
    return split_of


def _find_list(data: Path, split: str) -> Path:
    for folder in (data / "splits", data):  # other tools keep them in the second
        path = folder / f"{split}.json"
        if path.is_file():
            return path
    raise DataError(
        f"{data / 'splits' / f'{split}.json'} is missing: copy the folder dataset/splits of the "
        f"data set's repository (github.com/ondyari/FaceForensics) to {data / 'splits'}; each of "
        f"train.json, val.json and test.json is {SPLIT_FORM}"
    )


def _parse_list(path: Path) -> list[tuple[str, str]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        pairs = [(str(a), str(b)) for a, b in content]
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path} is not {SPLIT_FORM}: {error}") from error
    wrong = [pair for pair in pairs if not all(_NAME.fullmatch(name) for name in pair)]
    if wrong or not pairs:
        found = f"holds {list(wrong[0])}" if wrong else "is empty"
        raise DataError(f"{path} {found}: expected {SPLIT_FORM}")
    return pairs


def _find_methods(
    data: Path, compression: str, asked: Sequence[str] | None
) -> tuple[dict[str, Listing], list[str]]:
    """List the folder of each method, and name the methods that lack this compression."""
    found = [name for name in scan(data / FAKE_FOLDER).folders if name != OTHER_PEOPLE]
    unknown = [name for name in asked or () if name not in found]
    if unknown:
        raise DataError(
            f"no method {', '.join(unknown)} below {data / FAKE_FOLDER}: there are "
            f"{', '.join(found) or 'none'}"
            + (f" ({OTHER_PEOPLE} has no official split)" if OTHER_PEOPLE in unknown else "")
        )
    parts = {
        name: scan(data / FAKE_FOLDER / name / compression / "videos")
        for name in (found if asked is None else asked)
    }
    lacking = [name for name, part in parts.items() if not part.videos]
    if lacking and asked is not None:
        raise DataError(
            f"{parts[lacking[0]].folder} holds no video; {lacking[0]} has "
            f"{scan(data / FAKE_FOLDER / lacking[0])}: take another compression or other methods"
        )
    return {name: part for name, part in parts.items() if part.videos}, lacking


def _match(
    part: Listing, split_of: dict[str, str], splits: tuple[str, ...], *, is_fake: bool
) -> _Part:
    """Compare a folder with the lists of the requested splits."""
    named: dict[str, Path] = {}
    unknown = part.paths(part.others + part.folders)
    for path in part.paths(part.videos):
        if named.setdefault(path.stem, path) != path:
            unknown.append(path)  # 000.avi beside 000.mp4
    wanted = (name for name, split in split_of.items() if split in splits)
    return _Part(
        videos=tuple((p, split_of[n]) for n, p in named.items() if split_of.get(n) in splits),
        missing=tuple(
            part.folder / f"{name}.mp4"
            for name in wanted
            if ("_" in name) == is_fake and name not in named
        ),
        outside=tuple(path for name, path in named.items() if name not in split_of),
        unknown=tuple(unknown),
    )


def _note_parts(data: Path, parts: Iterable[_Part]) -> tuple[Note, ...]:
    kinds: dict[str, list[Path]] = {"missing-video": [], "outside-splits": [], "unknown-file": []}
    for part in parts:
        found = (part.missing, part.outside, part.unknown)
        for kind, paths in zip(kinds.values(), found, strict=True):
            kind.extend(path.relative_to(data) for path in paths)
    return tuple(one for kind, paths in kinds.items() for one in note(kind, paths))


def _list_other_people(data: Path, compression: str) -> list[Path]:
    folders = (data / REAL_FOLDER / "actors", data / FAKE_FOLDER / OTHER_PEOPLE)
    parts = [scan(folder / compression / "videos") for folder in folders]
    return [path.relative_to(data) for part in parts for path in part.paths(part.videos)]


def _wrong_compression(data: Path, compression: str) -> DataError:
    folders = [data / REAL_FOLDER / "youtube"]
    folders += scan(data / FAKE_FOLDER).paths(scan(data / FAKE_FOLDER).folders)
    there = sorted({name for folder in folders for name in scan(folder).folders})
    return DataError(
        f"{data} has no video in compression {compression}: expected "
        f"{REAL_FOLDER}/youtube/{compression}/videos/000.mp4, found "
        f"{', '.join(there) or 'nothing'}"
    )
