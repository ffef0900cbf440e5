"""Tiny data sets in the exact layouts; the files are empty, since no layout opens a video."""

import json
import os
from collections.abc import Iterable
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace

import pytest

from istvt.data.layouts import scan as scanning
from istvt.data.layouts import table as tables

FFPP_PAIRS = {
    "train": [("071", "054"), ("087", "081")],
    "val": [("720", "672")],
    "test": [("953", "974")],
}
FFPP_METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter")

# Swaps stay within two circles but for one, id3_id4; id0 to id3 and id4 to id7.
CELEBDF_CIRCLES = (("id0", "id1", "id2", "id3"), ("id4", "id5", "id6", "id7"))
CELEBDF_LIST = """\
1 YouTube-real/00001.mp4
1 Celeb-real/id0_0001.mp4
1 Celeb-real/id4_0001.mp4
0 Celeb-synthesis/id1_id0_0001.mp4
0 Celeb-synthesis/id5_id4_0001.mp4
"""


def touch(root: Path, names: Iterable[str]) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def make_ffpp(root: Path, compressions: Iterable[str] = ("c23",)) -> Path:
    for split, pairs in FFPP_PAIRS.items():
        path = root / "splits" / f"{split}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(pairs))
        for compression in compressions:
            for a, b in pairs:
                real = f"original_sequences/youtube/{compression}/videos"
                touch(root, (f"{real}/{name}.mp4" for name in (a, b)))
                for method in FFPP_METHODS:
                    fake = f"manipulated_sequences/{method}/{compression}/videos"
                    touch(root, (f"{fake}/{name}.mp4" for name in (f"{a}_{b}", f"{b}_{a}")))
    return root


def make_celebdf(root: Path) -> Path:
    people = [person for circle in CELEBDF_CIRCLES for person in circle]
    touch(root, (f"Celeb-real/{person}_000{i}.mp4" for person in people for i in range(2)))
    pairs = [pair for circle in CELEBDF_CIRCLES for pair in permutations(circle, 2)]
    pairs.append(("id3", "id4"))
    touch(root, (f"Celeb-synthesis/{a}_{b}_000{i}.mp4" for a, b in pairs for i in range(2)))
    touch(root, (f"YouTube-real/000{i:02}.mp4" for i in range(12)))
    (root / "List_of_testing_videos.txt").write_text(CELEBDF_LIST)
    return root


def make_dfdc(root: Path, parts: int = 2, originals: int = 10) -> Path:
    for part in range(parts):
        facts: dict[str, dict[str, str | None]] = {}
        for i in range(originals):
            name = f"real{part}{i}.mp4"
            facts[name] = {"label": "REAL", "split": "train", "original": None}
            for j in range(3):
                fake = {"label": "FAKE", "split": "train", "original": name}
                facts[f"fake{part}{i}{j}.mp4"] = dict(fake)
        folder = touch(root / f"dfdc_train_part_{part}", facts)
        (folder / "metadata.json").write_text(json.dumps(facts))
    return root


def make_folder(root: Path) -> Path:
    names = ("a.MOV", "b.mp4")
    parts = [f"{s}/{kind}" for s in ("train", "val", "test") for kind in ("real", "fake")]
    return touch(root, (f"{part}/{name}" for part in parts for name in names))


def note_listings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Note each folder that a layout lists, and each CSV that it reads, as often as it does."""
    seen: list[Path] = []
    scandir, parse_table = os.scandir, tables.parse_table

    def noted_scan(folder):
        seen.append(Path(folder))
        return scandir(folder)

    def noted_table(path, **options):
        seen.append(path)
        return parse_table(path, **options)

    monkeypatch.setattr(scanning, "os", SimpleNamespace(scandir=noted_scan, path=os.path))
    monkeypatch.setattr(tables, "parse_table", noted_table)
    return seen
