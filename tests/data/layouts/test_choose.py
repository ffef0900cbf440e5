"""Any layout by its own marks; a doubtful folder is an error that lists what is expected."""

import json
import os
from pathlib import Path

import pytest

from istvt.data.layouts import choose
from istvt.data.layouts.choose import LayoutOptions, find_layout, read_layout
from istvt.data.layouts.manifest import SPLITS, Label, Manifest, Video
from istvt.errors import DataError, UsageError
from tests.data.layouts.trees import touch

FOLDERS = ("ffpp", "celebdf", "dfdc", "folder")


@pytest.mark.parametrize("layout", FOLDERS)
def test_each_layout_is_known_by_its_marks(request: pytest.FixtureRequest, layout: str) -> None:
    data = request.getfixturevalue(layout)
    assert find_layout(data) == layout
    found = read_layout(data, splits=SPLITS)
    assert found.layout == layout
    assert found == read_layout(data, LayoutOptions(layout=layout))  # type: ignore[arg-type]
    assert list(found.videos) == sorted(
        found.videos, key=lambda v: (SPLITS.index(v.split), v.label, str(v.path))
    )


def test_a_csv_is_known_by_its_suffix(tmp_path: Path) -> None:
    path = tmp_path / "Videos.CSV"
    path.touch()
    assert find_layout(path) == "csv"


@pytest.mark.parametrize("name", ["", "nowhere", "list.txt"])
def test_an_unknown_place_lists_the_layouts(tmp_path: Path, name: str) -> None:
    touch(tmp_path, ("list.txt", "FaceForensics++/x"))
    with pytest.raises(DataError) as raised:
        find_layout(tmp_path / name)
    assert all(f"\n  {layout} " in str(raised.value) for layout in (*FOLDERS, "csv"))
    assert name or "it holds FaceForensics++, list.txt" in str(raised.value)


def test_two_layouts_in_one_folder_are_refused_until_one_is_named(ffpp: Path) -> None:
    touch(ffpp, ("train/real/a.mp4",))
    with pytest.raises(DataError, match="looks like ffpp and folder: name the layout"):
        read_layout(ffpp)
    assert len(read_layout(ffpp, LayoutOptions(layout="folder")).videos) == 1
    assert len(read_layout(ffpp, LayoutOptions(layout="ffpp")).videos) == 48


def test_options_reach_their_layout(ffpp: Path, dfdc: Path) -> None:
    with pytest.raises(DataError, match="compression c40"):
        read_layout(ffpp, LayoutOptions(compression="c40"))
    other = read_layout(dfdc, LayoutOptions(seed=3)).of_split("test")
    assert other != read_layout(dfdc).of_split("test")


@pytest.mark.parametrize("layout", ["ffpp", "folder"])
def test_methods_choose_among_the_fakes(request: pytest.FixtureRequest, layout: str) -> None:
    data: Path = request.getfixturevalue(layout)
    if layout == "folder":
        touch(data, (f"{split}/fake/Deepfakes/a.mp4" for split in SPLITS))
    reals = [v for v in read_layout(data).videos if not v.label]
    some = read_layout(data, LayoutOptions(methods=("Deepfakes",)))
    assert {v.method for v in some.videos if v.label} == {"Deepfakes"}
    assert [v for v in some.videos if not v.label] == reals
    with pytest.raises(DataError, match=r"FaceSwop.* Deepfakes"):
        read_layout(data, LayoutOptions(methods=("FaceSwop",)))


def test_an_empty_data_set_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train" / "real").mkdir(parents=True)
    with pytest.raises(DataError, match="read as folder, has no video in train, val, test"):
        read_layout(tmp_path)


def test_wrong_names_are_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"layout is 'faces', expected one of\n  ffpp"):
        LayoutOptions(layout="faces")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="split 'dev' is not one of train, val, test"):
        read_layout(folder, splits=("dev",))


@pytest.mark.parametrize(
    ("split", "name", "message"),
    [("val", "b.mp4", "keeps people apart.*ann"), ("train", "a.mp4", "listed twice")],
)
def test_every_manifest_is_checked_whatever_its_reader_did(
    dfdc: Path, monkeypatch: pytest.MonkeyPatch, split: str, name: str, message: str
) -> None:
    videos = [Video(dfdc / "a.mp4", Label.REAL, "train", ("ann",))]
    videos.append(Video(dfdc / name, Label.FAKE, split, ("ann",)))
    wrong = Manifest(dfdc, "dfdc", tuple(videos))
    monkeypatch.setattr(choose, "read_dfdc", lambda *_, **__: wrong)
    with pytest.raises(DataError, match=message):
        read_layout(dfdc)


def test_a_name_that_is_not_utf8_is_left_out_and_told(folder: Path) -> None:
    """No list could name it: neither manifest.csv nor broken.csv nor a report."""
    name = os.fsdecode(b"\xe9t\xe9")
    touch(folder, (f"train/real/{name}.mp4", f"train/fake/{name}/a.mp4", f"val/real/{name}.txt"))
    manifest = read_layout(folder)
    assert len(manifest.videos) == 12
    notes = {one.kind: one for one in manifest.notes}
    assert notes["unreadable-name"].count == 2
    assert notes["unreadable-name"].examples[1] == r"train/real/\udce9t\udce9.mp4"
    assert notes["unknown-file"].count == 1
    for one in manifest.notes:
        str(one).encode()
    with pytest.raises(DataError, match=r"has no video in train(.|\n)*unreadable-name: 6 "):
        read_layout(folder.rename(folder.with_name(name)), splits=("train",))


def test_a_fake_of_what_cannot_be_named_is_left_out_too(dfdc: Path) -> None:
    name = os.fsdecode(b"\xe9.mp4")
    facts = {name: {"label": "REAL"}, "swap.mp4": {"label": "FAKE", "original": name}}
    facts["lost.mp4"] = {"label": "FAKE", "original": os.fsdecode(b"\xe8.mp4")}  # not on disk
    touch(dfdc / "dfdc_train_part_1", facts)
    path = dfdc / "dfdc_train_part_1" / "metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))
    far = {"far.mp4": {"label": "REAL"}}
    part = touch(dfdc / os.fsdecode(b"dfdc_train_part_\xe9"), far)
    (part / "metadata.json").write_text(json.dumps(far))
    facts["near.mp4"] = {"label": "FAKE", "original": "far.mp4"}
    touch(dfdc / "dfdc_train_part_1", facts)
    path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))
    manifest = read_layout(dfdc)
    assert len(manifest.videos) == 80
    assert ("unreadable-name", 5) in {(one.kind, one.count) for one in manifest.notes}
