"""What splits may not share: files, people, sources."""

from dataclasses import replace
from pathlib import Path

import pytest

from istvt.data.layouts.checks import (
    COMPARED_BYTES,
    lacking_labels,
    note_shared,
    refuse_conflicts,
    refuse_copies,
    refuse_shared,
    require_labels,
    require_splits,
    shared_identities,
)
from istvt.data.layouts.folder import read_folder
from istvt.data.layouts.manifest import Label, Manifest, Note, Video, note
from istvt.errors import DataError

SPLITS = ("train", "val")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for split in SPLITS:
        for kind in ("real", "fake"):
            path = tmp_path / "data" / split / kind / "0.mp4"
            path.parent.mkdir(parents=True)
            path.write_text(f"{split} {kind}")
    return tmp_path / "data"


def test_a_copy_in_another_split_is_refused(data: Path) -> None:
    (data / "val" / "real" / "other_name.mp4").write_text("train fake")
    with pytest.raises(DataError, match=r"1 videos .*train/fake/0\.mp4 .*= .*other_name\.mp4"):
        refuse_copies(read_folder(data, splits=SPLITS).videos)


def test_only_the_same_size_and_start_are_a_copy(data: Path) -> None:
    (data / "train" / "real" / "a.mp4").write_bytes(b"a" * (COMPARED_BYTES + 9))
    (data / "val" / "real" / "a.mp4").write_bytes(b"b" * (COMPARED_BYTES + 9))
    (data / "val" / "real" / "b.mp4").write_bytes(b"a" * (COMPARED_BYTES + 8))
    (data / "train" / "real" / "same.mp4").write_text("train real")  # in the same split
    for split in SPLITS:
        (data / split / "real" / "empty.mp4").touch()
    refuse_copies(read_folder(data, splits=SPLITS).videos)


def test_people_in_two_splits_are_told_by_ffpp_names(caplog: pytest.LogCaptureFixture) -> None:
    names = {"train": ("000", "000_003", "005", "0007", "take_009"), "val": ("003_010", "0007")}
    videos = [
        Video(Path(split) / f"{name}.mp4", Label.FAKE, split)
        for split, its in names.items()
        for name in its
    ]
    assert shared_identities(videos) == ("003",)
    assert "1 identities are in more than one split, if the names are those" in caplog.text
    assert shared_identities(videos[:5]) == ()


def people(*of_split: tuple[str, str]) -> list[Video]:
    return [
        Video(Path(f"{split}/00{i}_003.mp4"), Label.REAL, split, tuple(names.split()))
        for i, (split, names) in enumerate(of_split)
    ]


def test_named_people_count_and_not_the_names_of_files(caplog: pytest.LogCaptureFixture) -> None:
    assert shared_identities(people(("train", "ann bob"), ("val", "cid"))) == ()
    assert caplog.text == ""
    videos = people(("train", "ann bob"), ("train", "bob"), ("val", "cid ann"))
    assert shared_identities(videos) == ("ann",)
    assert "more than one split (ann)" in caplog.text
    assert note_shared(videos, Path("d")) == (Note("shared-identity", 1, ("ann",)),)
    with pytest.raises(DataError, match=r"d cannot be read as ffpp.* 1 people .*\(ann\)"):
        refuse_shared(Manifest(Path("d"), "ffpp", tuple(videos)))
    refuse_shared(Manifest(Path("d"), "ffpp", tuple(videos[:2])))


def test_a_fake_apart_from_its_source_is_told() -> None:
    real = Video(Path("d/a.mp4"), Label.REAL, "train")
    fakes = [Video(Path(f"d/{split}.mp4"), Label.FAKE, split, source=real.path) for split in SPLITS]
    unknown = Video(Path("c.mp4"), Label.FAKE, "val", source=Path("not_listed.mp4"))
    assert note_shared([real, *fakes, unknown], Path("d")) == (
        Note("shared-source", 1, ("val.mp4",)),
    )


def test_a_file_has_one_place() -> None:
    video = Video(Path("a.mp4"), Label.REAL, "train")
    refuse_conflicts([video, Video(Path("b.mp4"), Label.REAL, "train")])
    with pytest.raises(DataError, match=r"a\.mp4 is listed twice, in train/real and train/fake"):
        refuse_conflicts([video, Video(Path("a.mp4"), Label.FAKE, "train")])


def test_an_empty_split_is_refused_with_what_there_is() -> None:
    notes = note("missing-video", ("b.mp4",))
    manifest = Manifest(Path("d"), "ffpp", tuple(people(("train", "ann"))), notes)
    require_splits(manifest, ("train",))
    with pytest.raises(
        DataError, match=r"no video in val; it has 1 train/real\n  missing-video: 1"
    ):
        require_splits(manifest, SPLITS)


def test_a_video_is_not_real_and_fake_at_once(data: Path) -> None:
    fakes = data / "train" / "fake"
    (fakes / "other_name.mp4").write_text("train real")
    with pytest.raises(DataError, match=r"other_name\.mp4 \(train/fake\)") as raised:
        refuse_copies(read_folder(data, splits=SPLITS).videos)
    assert "train/real/0.mp4 (train/real)" in str(raised.value)
    (fakes / "other_name.mp4").unlink()
    (fakes / "link.mp4").symlink_to(data / "train" / "real" / "0.mp4")
    with pytest.raises(DataError, match=r"1 videos .*link\.mp4 \(train/fake\)"):
        refuse_copies(read_folder(data, splits=SPLITS).videos)


def test_a_split_without_a_label_is_refused_before_anything_is_read() -> None:
    train = (Video(Path("a.mp4"), Label.REAL, "train"), Video(Path("b.mp4"), Label.FAKE, "train"))
    val = Video(Path("c.mp4"), Label.REAL, "val")
    whole = Manifest(Path("d"), "folder", (*train, val, replace(val, label=Label.FAKE)))
    require_labels(whole, SPLITS)
    assert lacking_labels(whole.videos, SPLITS) == ()
    reals = Manifest(Path("d"), "folder", (*train, val))
    require_labels(reals, SPLITS, with_fakes=False)
    with pytest.raises(
        DataError,
        match=r"no video in val/fake; it has train/real, train/fake, val/real: .*--fakes self-ble",
    ):
        require_labels(reals, SPLITS)
    fakes = Manifest(Path("d"), "folder", train[1:])
    for with_fakes, lacking in ((True, "train/real, val/real, val/fake"), (False, "train/real")):
        with pytest.raises(DataError, match=f"no video in {lacking}") as raised:
            require_labels(fakes, SPLITS, with_fakes=with_fakes)
        assert "self-blended" not in str(raised.value)
