"""The challenge's data: an original and its fakes stay together."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from istvt.data.layouts.dfdc import read_dfdc
from istvt.data.layouts.manifest import SPLITS, Label
from istvt.errors import DataError
from tests.data.layouts.trees import make_dfdc, touch


def change(folder: Path, **entries: Any) -> None:
    path = folder / "metadata.json"
    facts = json.loads(path.read_text())
    facts.update({f"{name}.mp4": entry for name, entry in entries.items()})
    path.write_text(json.dumps(facts))
    touch(folder, facts)


def test_an_original_and_its_fakes_are_in_one_split(dfdc: Path) -> None:
    splits: dict[str, set[str]] = defaultdict(set)
    for video in read_dfdc(dfdc).videos:
        (original,) = video.identities
        assert original[4:] == video.path.stem[4:6]
        splits[original].add(video.split)
    assert len(splits) == 20
    assert all(len(where) == 1 for where in splits.values())


def test_a_tenth_of_the_originals_each_is_held_out(tmp_path: Path) -> None:
    data = make_dfdc(tmp_path / "dfdc", parts=1, originals=2000)
    reals = [v.split for v in read_dfdc(data).videos if v.label is Label.REAL]
    assert [reals.count(split) / 2000 for split in SPLITS] == pytest.approx(
        [0.8, 0.1, 0.1], abs=0.02
    )


def test_nobody_changes_the_split_as_more_parts_come(tmp_path: Path) -> None:
    data = make_dfdc(tmp_path / "dfdc", parts=5, originals=200)
    before = {v.path: v.split for v in read_dfdc(data).videos}
    after = {v.path: v.split for v in read_dfdc(make_dfdc(data, 6, 200)).videos}
    assert len(after) == len(before) * 6 / 5
    assert {path: after[path] for path in before} == before


def test_a_few_originals_reach_every_split_and_say_so(tmp_path: Path) -> None:
    manifest = read_dfdc(make_dfdc(tmp_path / "dfdc", parts=1, originals=3))
    assert {(v.split, v.label) for v in manifest.videos} == {(s, x) for s in SPLITS for x in Label}
    assert "moved-group" in {one.kind for one in manifest.notes}


def test_the_seed_alone_decides(dfdc: Path) -> None:
    first = read_dfdc(dfdc)
    moved = dfdc.rename(dfdc.with_name("elsewhere"))
    again = read_dfdc(moved)
    assert [v.split for v in again.videos] == [v.split for v in first.videos]
    assert [v.path.name for v in again.videos] == [v.path.name for v in first.videos]
    held = {v.identities for v in again.of_split("test")}
    assert held != {v.identities for v in read_dfdc(moved, seed=1).of_split("test")}


def test_the_source_is_found_in_another_part(dfdc: Path) -> None:
    change(dfdc / "dfdc_train_part_1", odd={"label": "FAKE", "original": "real03.mp4"})
    videos = {v.path.stem: v for v in read_dfdc(dfdc).videos}
    assert videos["odd"].source == dfdc / "dfdc_train_part_0/real03.mp4"
    assert videos["odd"].split == videos["real03"].split
    assert (videos["real03"].source, videos["real03"].label) == (None, Label.REAL)


def test_a_single_folder_is_read_too(dfdc: Path) -> None:
    manifest = read_dfdc(dfdc / "dfdc_train_part_0")
    assert len(manifest.videos) == 40
    (one,) = manifest.notes
    assert (one.kind, one.count) == ("original-as-identity", 10)


def test_what_does_not_fit_together_is_counted(dfdc: Path) -> None:
    part = dfdc / "dfdc_train_part_0"
    (part / "real00.mp4").unlink()
    (part / "fake010.mp4").unlink()
    touch(dfdc, ("dfdc_train_part_0/new.mp4", "dfdc_train_part_0/x.txt", "dfdc_train_part_7/a.mp4"))
    change(dfdc / "dfdc_train_part_1", odd={"label": "FAKE", "original": "far.mp4"})
    notes = {one.kind: one for one in read_dfdc(dfdc).notes}
    assert notes["missing-video"].examples == (
        "dfdc_train_part_0/fake010.mp4",
        "dfdc_train_part_0/real00.mp4",
    )
    assert notes["unknown-file"].examples == (
        "dfdc_train_part_0/new.mp4",
        "dfdc_train_part_0/x.txt",
        "dfdc_train_part_7",
    )
    assert notes["no-original"].count == 4
    assert "dfdc_train_part_1/odd.mp4" in {
        v.path.relative_to(dfdc).as_posix() for v in read_dfdc(dfdc).videos if v.source is None
    }


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"label": "fake", "original": "real00.mp4"}, "odd.mp4 is .*expected a label REAL or FAKE"),
        ({"original": "real00.mp4"}, "odd.mp4 is .*expected a label REAL or FAKE"),
        ("FAKE", "odd.mp4 is FAKE, expected a label"),
        ({"label": "FAKE", "original": None}, "the fake odd.mp4 names no original"),
        ({"label": "FAKE", "original": "fake000.mp4"}, "original of odd.mp4 is fake000.mp4, which"),
    ],
)
def test_a_wrong_entry_is_named(dfdc: Path, entry: Any, message: str) -> None:
    change(dfdc / "dfdc_train_part_1", odd=entry)
    with pytest.raises(DataError, match=message):
        read_dfdc(dfdc)


@pytest.mark.parametrize("label", ["REAL", "FAKE"])
def test_one_name_in_two_parts_is_refused(dfdc: Path, label: str) -> None:
    change(dfdc / "dfdc_train_part_1", real00={"label": label, "original": "real01.mp4"})
    message = rf"real00\.mp4 is listed twice, REAL in .*part_0, {label} in .*part_1: remove one"
    with pytest.raises(DataError, match=message):
        read_dfdc(dfdc)


@pytest.mark.parametrize("content", ["{", "[]"])
def test_other_metadata_is_refused(dfdc: Path, content: str) -> None:
    (dfdc / "dfdc_train_part_1/metadata.json").write_text(content)
    with pytest.raises(DataError, match=r"metadata\.json .*expected \{\"a\.mp4\""):
        read_dfdc(dfdc)


def test_no_metadata_at_all_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, ("a.mp4",))
    with pytest.raises(DataError, match=r"no metadata\.json, nor .*found a\.mp4"):
        read_dfdc(tmp_path)
