import os

import pytest

from istvt.bundle.locate import default_bundle, find_bundle, find_run
from istvt.errors import ModelNotFoundError


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ISTVT_MODEL", raising=False)
    return tmp_path


def make(folder, file, *, age_s=0):
    folder.mkdir(parents=True)
    (folder / file).touch()
    stamp = 1_700_000_000 - age_s
    os.utime(folder / file, (stamp, stamp))
    return folder


def test_the_newest_run_is_taken(here):
    make(here / "runs/old", "config.json", age_s=100)
    make(here / "runs/new", "config.json")
    make(here / "elsewhere", "config.json")
    found = find_run(None)
    assert found.folder.name == "new"
    assert "newest" in found.reason


def test_the_newest_bundle_is_taken_from_here_and_from_runs(here):
    make(here / "runs/b.istvt", "bundle.json", age_s=50)
    make(here / "a.istvt", "bundle.json", age_s=100)
    assert find_bundle(None).folder.name == "b.istvt"
    make(here / "c.istvt", "bundle.json")
    assert find_bundle(None).folder.name == "c.istvt"


def test_an_option_beats_the_variable_and_that_beats_the_newest(here, monkeypatch):
    make(here / "runs/newest.istvt", "bundle.json")
    variable = make(here / "x.istvt", "bundle.json", age_s=9)
    option = make(here / "y.istvt", "bundle.json", age_s=99)
    monkeypatch.setenv("ISTVT_MODEL", str(variable))
    assert find_bundle(None).folder == variable
    assert find_bundle(option).folder == option
    assert find_bundle(option).reason == "--model"


def test_where_there_is_none_the_commands_that_make_one_are_named():
    with pytest.raises(ModelNotFoundError, match=r"--model.*ISTVT_MODEL.*istvt train"):
        find_run(None)
    with pytest.raises(ModelNotFoundError, match=r"istvt export.*istvt demo"):
        find_bundle(None)


def test_a_run_in_a_bundles_place_says_how_to_export_it(here):
    run = make(here / "runs/a", "config.json")
    bundle = make(here / "b.istvt", "bundle.json")
    with pytest.raises(ModelNotFoundError, match=r"istvt export --model .*runs/a"):
        find_bundle(run)
    with pytest.raises(ModelNotFoundError, match="is a bundle, and a run is needed"):
        find_run(bundle)
    with pytest.raises(ModelNotFoundError, match="no such folder"):
        find_bundle(here / "lost.istvt")


def test_a_bundle_whose_export_was_killed_is_found_again(here):
    make(here / "runs/.a.istvt.old", "bundle.json")
    make(here / ".b.istvt.old", "bundle.json", age_s=9)
    assert find_bundle(here / "b.istvt").folder == here / "b.istvt"
    assert find_bundle(None).folder.name == "a.istvt"


def test_a_bundle_goes_beside_its_run(here):
    assert default_bundle(here / "runs" / "a") == here / "runs" / "a.istvt"
    (here / "v1.2").mkdir()
    assert default_bundle(here / "v1.2").name == "v1.2.istvt"
