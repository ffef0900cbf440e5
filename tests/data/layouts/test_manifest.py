"""The manifest and its CSV: what is written is read back."""

from pathlib import Path

import pytest

from istvt.data.layouts.manifest import (
    COLUMNS,
    NOTES,
    Count,
    Label,
    Manifest,
    Note,
    Video,
    note,
    read_manifest,
    write_manifest,
)
from istvt.errors import DataError


def make(root: Path) -> Manifest:
    real = Video(root / "r" / "a, b.mp4", Label.REAL, "train", ("ann",))
    other = Path("/elsewhere/c.mp4")
    videos = (
        real,
        Video(root / "f" / "b.mp4", Label.FAKE, "train", ("ann", "bob"), "swap", real.path),
        Video(root / "f" / "é.mp4", Label.FAKE, "train", ("cid", "bob"), "swap"),
        Video(other, Label.FAKE, "test", (), "", other.with_name("d.mp4")),
    )
    return Manifest(root, "ffpp", videos, (Note("missing-video", 1, ("x",)),))


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    manifest, path = make(tmp_path / "data"), tmp_path / "out" / "manifest.csv"
    write_manifest(path, manifest)
    back = read_manifest(path, root=manifest.root, layout="ffpp")
    assert back.videos == manifest.videos
    assert (back.root, back.layout, back.notes) == (manifest.root, "ffpp", ())
    assert "data" not in path.read_text()


def test_the_csv_does_not_depend_on_the_place(tmp_path: Path) -> None:
    texts = set()
    for name in ("one", "two"):
        write_manifest(tmp_path / "m.csv", make(tmp_path / name))
        texts.add((tmp_path / "m.csv").read_bytes())
    assert len(texts) == 1
    assert texts.pop().decode().splitlines()[:3] == [
        ",".join(COLUMNS),
        '"r/a, b.mp4",real,train,ann,,',
        'f/b.mp4,fake,train,ann;bob,swap,"r/a, b.mp4"',
    ]


def test_a_folder_given_relatively_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_manifest(Path("m.csv"), make(Path()))
    assert read_manifest(Path("m.csv")).videos == make(Path()).videos
    first = Path("m.csv").read_bytes()
    write_manifest(Path("m.csv"), make(tmp_path))
    assert Path("m.csv").read_bytes() == first


def test_a_neighbour_with_a_longer_name_is_not_below(tmp_path: Path) -> None:
    video = Video(tmp_path / "data2" / "a.mp4", Label.REAL, "train")
    write_manifest(tmp_path / "m.csv", Manifest(tmp_path / "data", "folder", (video,)))
    assert str(video.path) in (tmp_path / "m.csv").read_text()


def test_a_table_without_splits_is_no_manifest(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("path,label\na.mp4,real\n")
    with pytest.raises(DataError, match="no column `split`"):
        read_manifest(path)


def test_a_name_that_could_not_be_read_back_is_refused(tmp_path: Path) -> None:
    video = Video(tmp_path / "a.mp4", Label.REAL, "train", ("ann;bob",))
    with pytest.raises(DataError, match="'ann;bob' holds ; or"):
        write_manifest(tmp_path / "m.csv", Manifest(tmp_path, "csv", (video,)))
    assert not (tmp_path / "m.csv").exists()


def test_the_summary_counts_videos_and_people(tmp_path: Path) -> None:
    assert make(tmp_path).summary() == (
        Count("train", Label.REAL, "", 1, 1),
        Count("train", Label.FAKE, "swap", 2, 3),
        Count("test", Label.FAKE, "", 1, 0),
    )
    assert len(make(tmp_path).of_split("train")) == 3


def test_a_note_counts_all_and_shows_some() -> None:
    assert note("missing-video", ()) == ()
    (one,) = note("missing-video", (f"{i}.mp4" for i in range(9, 0, -1)))
    assert one == Note("missing-video", 9, ("1.mp4", "2.mp4", "3.mp4"))
    assert str(one) == f"missing-video: 9 {NOTES['missing-video']} (1.mp4, 2.mp4, 3.mp4, ...)"
