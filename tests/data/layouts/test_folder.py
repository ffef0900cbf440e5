"""The plain layout: label, split and method come from the folders alone."""

import shutil
from pathlib import Path

import pytest

from istvt.data.layouts.choose import read_layout
from istvt.data.layouts.folder import read_folder
from istvt.data.layouts.manifest import SPLITS, Label, Note
from istvt.errors import DataError
from istvt.video.source import VIDEO_SUFFIXES
from tests.data.layouts.trees import touch


def test_label_and_split_come_from_the_folders_alone(folder: Path) -> None:
    touch(folder, ("train/real/fake_looking.mkv",))
    found = {(v.split, v.label, v.path.name) for v in read_folder(folder).videos}
    assert len(found) == 13
    assert ("train", Label.REAL, "fake_looking.mkv") in found
    assert ("test", Label.FAKE, "a.MOV") in found


def test_the_order_does_not_depend_on_the_file_system(folder: Path) -> None:
    paths = [v.path.name for v in read_folder(folder, splits=("val",)).videos]
    assert paths == ["a.MOV", "b.mp4"] * 2


def test_what_is_scored_can_be_trained_on_too(folder: Path) -> None:
    touch(folder, (f"val/fake/c{suffix.upper()}" for suffix in VIDEO_SUFFIXES))
    videos = read_folder(folder, splits=("val",)).videos
    assert {v.path.suffix.lower() for v in videos} == VIDEO_SUFFIXES >= {".webm", ".m4v"}


def test_a_folder_below_fake_is_a_method(folder: Path) -> None:
    touch(folder, ("train/fake/Deepfakes/000_003.mp4", "train/fake/FaceSwap/000_003.mp4"))
    videos = read_folder(folder, splits=("train",)).videos
    assert [v.method for v in videos if v.label is Label.FAKE] == ["Deepfakes", "FaceSwap", "", ""]


def test_real_videos_alone_are_a_data_set(folder: Path) -> None:
    for split in SPLITS:
        shutil.rmtree(folder / split / "fake")
    manifest = read_layout(folder, splits=SPLITS)
    assert {(c.split, c.label, c.videos) for c in manifest.summary()} == {
        (split, Label.REAL, 2) for split in SPLITS
    }


def test_only_the_asked_splits_must_be_there(folder: Path) -> None:
    shutil.rmtree(folder / "test")
    assert len(read_layout(folder, splits=("train", "val")).videos) == 8
    assert len(read_layout(folder).videos) == 8
    with pytest.raises(DataError, match="has no video in test; it has 2 train/real, 2 train/fake"):
        read_layout(folder, splits=SPLITS)


def test_what_is_left_out_is_counted_and_named(folder: Path) -> None:
    unknown = (
        "train/loose.mp4",
        "train/other/a.mp4",
        "train/real/x.txt",
        "train/real/deep/a.mp4",
        "train/fake/Deepfakes/c23/a.mp4",
    )
    touch(folder, (*unknown, "train/real/.hidden.mp4"))
    assert read_folder(folder, splits=("val",)).notes == ()
    assert read_folder(folder, splits=("train",)).notes == (
        Note("unknown-file", 5, ("train/fake/Deepfakes/c23", "train/loose.mp4", "train/other")),
    )


def test_people_in_two_splits_are_told_by_the_names_of_faceforensics(folder: Path) -> None:
    touch(folder, ("train/fake/000_003.mp4", "test/real/003.mp4", "test/real/004.mp4"))
    assert read_folder(folder).notes == (Note("shared-name", 1, ("003",)),)


def test_a_missing_folder_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"not a folder.*\{real,fake\}"):
        read_folder(tmp_path / "nowhere")
