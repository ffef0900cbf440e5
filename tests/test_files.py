import os
import subprocess
from pathlib import Path

import pytest

from istvt.files import atomic_file, atomic_folder, recover_folder, sha256_of


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_file(path) as temporary:
        temporary.write_text(f"half {1 / 0}")
    assert path.read_text() == "old"
    with atomic_file(path) as temporary:
        assert temporary.suffix == ".json"
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a.json"]


def test_a_folder_is_swapped_whole(tmp_path):
    path = tmp_path / "deep" / "model.istvt"
    for content in ("first", "second"):
        with atomic_folder(path) as temporary:
            (temporary / "file").write_text(content)
            (temporary / content).touch()
        assert (path / "file").read_text() == content
        assert names(path) == sorted(["file", content])
    with pytest.raises(ZeroDivisionError), atomic_folder(path) as temporary:
        (temporary / "file").write_text(f"half {1 / 0}")
    assert (path / "file").read_text() == "second"
    assert names(path.parent) == ["model.istvt"]


@pytest.mark.parametrize("way", ["dot", "link"])
def test_a_folder_is_found_by_whatever_it_is_called(tmp_path, monkeypatch, way):
    path, link = tmp_path / "model.istvt", tmp_path / "newest.istvt"
    path.mkdir()
    link.symlink_to(path)
    monkeypatch.chdir(path)
    called = Path() if way == "dot" else link
    recover_folder(called)
    with atomic_folder(called) as temporary:
        (temporary / "file").touch()
    assert names(path) == ["file"]
    assert link.is_symlink()
    assert names(tmp_path) == ["model.istvt", "newest.istvt"]


def test_a_swap_cut_between_its_renames_gives_the_old_folder_back(tmp_path):
    path, aside = tmp_path / "model.istvt", tmp_path / ".model.istvt.old"
    aside.mkdir()
    (aside / "file").write_text("old")
    recover_folder(path)
    assert (path / "file").read_text() == "old"
    assert names(tmp_path) == ["model.istvt"]


def test_a_swap_cut_after_its_renames_keeps_the_new_folder(tmp_path):
    path, aside = tmp_path / "model.istvt", tmp_path / ".model.istvt.old"
    aside.mkdir()
    path.mkdir()
    (path / "file").write_text("new")
    recover_folder(path)
    assert (path / "file").read_text() == "new"


def test_a_writer_sweeps_away_what_killed_ones_left(tmp_path):
    path = tmp_path / "model.istvt"
    child = subprocess.Popen(["true"])
    child.wait()
    dead, alive = f".model.istvt-{child.pid}-x", f".model.istvt-{os.getpid()}-x"
    for name in ("model.istvt", ".model.istvt.old", dead, alive):
        (tmp_path / name).mkdir()
    with atomic_folder(path) as temporary:
        (temporary / "file").touch()
    assert names(tmp_path) == [alive, "model.istvt"]


def test_digest_is_sha256(tmp_path):
    (tmp_path / "empty").touch()
    expected = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert sha256_of(tmp_path / "empty") == expected
