import pytest

from istvt.data.layouts.folder import scan_folder
from istvt.data.manifest import Label
from istvt.errors import DataError
from istvt.video.suffixes import VIDEO_SUFFIXES


@pytest.fixture
def data(tmp_path):
    for split in ("train", "val", "test"):
        for kind in ("real", "fake"):
            part = tmp_path / split / kind
            part.mkdir(parents=True)
            for name in ("b.mp4", "a.MOV"):
                (part / name).write_bytes(b"-")
    return tmp_path


def test_label_and_split_come_from_the_folders_alone(data):
    (data / "train" / "real" / "fake_looking.mkv").write_bytes(b"-")
    found = {(v.split, v.label, v.path.name) for v in scan_folder(data)}
    assert len(found) == 13
    assert ("train", Label.REAL, "fake_looking.mkv") in found
    assert ("test", Label.FAKE, "a.MOV") in found


def test_the_order_does_not_depend_on_the_file_system(data):
    paths = [v.path.name for v in scan_folder(data, splits=("val",))]
    assert paths == ["a.MOV", "b.mp4"] * 2


def test_what_is_scored_can_be_trained_on_too(data):
    for suffix in VIDEO_SUFFIXES:
        (data / "val" / "fake" / f"c{suffix.upper()}").write_bytes(b"-")
    found = {video.path.suffix.lower() for video in scan_folder(data, splits=("val",))}
    assert found == VIDEO_SUFFIXES >= {".webm", ".m4v"}


def test_only_the_asked_splits_must_be_there(data):
    for path in sorted((data / "test").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (data / "test").rmdir()
    assert len(scan_folder(data, splits=("train", "val"))) == 8
    with pytest.raises(DataError, match=r"test/real is missing.*found train, val"):
        scan_folder(data)


def test_a_missing_folder_says_what_was_expected(tmp_path):
    with pytest.raises(DataError, match=r"not a folder.*\{real,fake\}"):
        scan_folder(tmp_path / "nowhere")


def test_a_class_without_videos_is_an_error(data):
    for path in (data / "val" / "fake").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="val/fake holds no video"):
        scan_folder(data)


def test_what_is_left_out_is_counted_and_named(data, caplog):
    part = data / "train" / "real"
    for name in ("x.txt", "y.txt", ".hidden.mp4"):
        (part / name).write_bytes(b"-")
    (part / "too_deep").mkdir()
    assert len(scan_folder(data, splits=("train",))) == 4
    assert caplog.messages == [f"{part}: not videos, left out: 2 *.txt, 1 folders"]
