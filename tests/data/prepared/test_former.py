"""One folder, one data set: what may follow on what was prepared before."""

import shutil
from dataclasses import replace

import pytest

from istvt.data.dataset import DataRequest, open_data
from istvt.data.prepared import keys
from istvt.data.prepared import prepare as module
from istvt.data.prepared.folder import PREPARED_FILE, open_prepared
from istvt.data.prepared.former import shards_in
from istvt.data.prepared.prepare import prepare
from istvt.errors import DataError
from istvt.presets import TINY, CropRecipe, ModelConfig
from tests.data.prepared.test_prepare import NUM_FRAMES, RECIPE, content_of, manifest_of


@pytest.fixture
def data(videos, tmp_path):
    shutil.copytree(videos, tmp_path / "data")
    for copy in ("b", "c"):
        shutil.copy(tmp_path / "data" / "face.mp4", tmp_path / "data" / f"{copy}.mp4")
    return tmp_path / "data"


def refused(manifest, out, match):
    before = content_of(out)
    with pytest.raises(DataError, match=match):
        prepare(manifest, out, RECIPE)
    assert content_of(out) == before


def test_another_data_set_is_refused_with_what_is_there(data, tmp_path):
    manifest, out = manifest_of(data, "face", "gap"), tmp_path / "out"
    prepare(manifest, out, RECIPE)
    refused(
        manifest_of(data, "b", "c"),
        out,
        rf"out holds the faces of 2 videos of {data}, read as folder, such as face\.mp4; "
        rf".* 0 of them are among the 2 of {data}, read as folder: name another folder",
    )
    refused(replace(manifest, layout="csv"), out, "read as folder, .* read as csv: name another")
    prepare(manifest_of(data, "face", "b", "c"), out, RECIPE)  # half of it is enough


def test_the_same_names_in_another_place_are_no_proof(data, tmp_path):
    prepare(manifest_of(data, "face", "gap"), tmp_path / "out", RECIPE)
    shutil.copytree(data, tmp_path / "other", copy_function=shutil.copyfile)  # with other dates
    other = manifest_of(tmp_path / "other", "face", "gap")
    refused(other, tmp_path / "out", "0 of them are among the 2 of")


def test_moved_data_go_on_with_a_note(data, tmp_path, caplog):
    prepare(manifest_of(data, "face", "gap"), tmp_path / "out", RECIPE)
    data.rename(tmp_path / "moved")
    prepared = prepare(manifest_of(tmp_path / "moved", "face", "b"), tmp_path / "out", RECIPE)
    assert prepared.manifest.root == tmp_path / "moved"
    assert (
        "out: moved-data: 1 folder held the videos when they were prepared, but another one "
        in (caplog.text)
    )
    assert f"({data})" in caplog.text


def test_an_unfinished_folder_is_not_for_other_data_either(data, tmp_path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(module, "write_prepared", fail)
        with pytest.raises(KeyboardInterrupt):
            prepare(manifest_of(data, "face", "gap", "empty"), out, RECIPE)
    refused(manifest_of(data, "b", "c"), out, "the faces of 3 videos, not finished; .* 0 of them")
    assert prepare(manifest_of(data, "face"), out, RECIPE).removed == 0, "a part of it is its own"
    assert len(shards_in(out)) == 3


def test_a_shard_that_is_of_no_use_is_removed(data, tmp_path):
    out, manifest = tmp_path / "out", manifest_of(data, "b", "c", "face", "gap")
    assert prepare(manifest, out, RECIPE).removed == 0
    [former_shard] = [v.shard for v in open_prepared(out).videos if v.video.path.stem == "gap"]
    shutil.copyfile(data / "empty.mp4", data / "gap.mp4")
    assert prepare(manifest, out, RECIPE).removed == 1
    assert not former_shard.exists()
    shards = {faces.shard for faces in open_prepared(out).videos}
    half = min(shards).with_name(".half.safetensors")
    half.touch()  # what is being written is no shard yet
    assert shards_in(out) == shards
    half.unlink()
    prepare(manifest, tmp_path / "anew", RECIPE)
    assert content_of(out) == content_of(tmp_path / "anew")


@pytest.mark.parametrize("name", ["write_manifest", "_write_index", "_write_json"])
def test_a_kill_before_the_end_removes_nothing(data, tmp_path, monkeypatch, name):
    from istvt.data.prepared import folder as writing

    out = tmp_path / "out"
    prepare(manifest_of(data, "face", "gap"), out, RECIPE)
    shards = shards_in(out)

    def fail(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(writing, name, fail)
        with pytest.raises(KeyboardInterrupt):
            prepare(manifest_of(data, "face", "b"), out, RECIPE)
    assert shards < shards_in(out)


def test_a_kill_amid_the_removal_is_made_up_for(data, tmp_path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    out, manifest = tmp_path / "out", manifest_of(data, "face", "gap")
    prepare(manifest, out, RECIPE)
    shutil.copyfile(data / "empty.mp4", data / "gap.mp4")
    with monkeypatch.context() as patched:
        patched.setattr(module, "_without_former", fail)
        with pytest.raises(KeyboardInterrupt):
            prepare(manifest, out, RECIPE)
    assert len(shards_in(out)) == 3
    assert open_prepared(out).manifest == manifest
    assert prepare(manifest, out, RECIPE).removed == 1
    assert len(shards_in(out)) == 2


@pytest.fixture
def no_reading(monkeypatch):
    """Make every reading of a video an error."""

    def read_nothing(jobs, *_, **__):
        assert not jobs, "a video was read"
        return ()

    return lambda: monkeypatch.setattr(module, "read_videos", read_nothing)


def test_videos_that_were_left_out_are_not_cut_anew(data, tmp_path, no_reading):
    out, manifest = tmp_path / "out", manifest_of(data, "b", "c", "face", "gap")
    prepare(manifest, out, RECIPE)
    whole = content_of(out)
    no_reading()
    for fewer in (manifest_of(data, "b", "c", "face"), manifest_of(data, "b", "c")):
        assert prepare(fewer, out, RECIPE).removed == 0
        assert prepare(fewer, out, RECIPE).removed == 0, "nothing changed"
    assert prepare(manifest, out, RECIPE).removed == 0
    assert content_of(out) == whole


def test_videos_that_were_not_to_be_had_are_not_cut_anew(data, tmp_path, no_reading):
    out, manifest = tmp_path / "out", manifest_of(data, "b", "c", "face", "gap")
    prepare(manifest, out, RECIPE)
    whole = content_of(out)
    no_reading()
    data.rename(tmp_path / "not mounted")
    without = prepare(manifest, out, RECIPE)
    assert (without.removed, len(without.videos), len(without.skipped)) == (0, 0, 4)
    (tmp_path / "not mounted").rename(data)
    prepare(manifest, out, RECIPE)
    assert content_of(out) == whole


def test_other_code_knows_moved_data(data, tmp_path, monkeypatch, caplog):
    out = tmp_path / "out"
    prepare(manifest_of(data, "face", "gap"), out, RECIPE)
    data.rename(tmp_path / "moved")
    shutil.copytree(tmp_path / "moved", tmp_path / "other", copy_function=shutil.copyfile)
    monkeypatch.setattr(keys, "CROPS_VERSION", -1)
    refused(manifest_of(tmp_path / "other", "face", "gap"), out, "0 of them are among the 2 of")
    moved = prepare(manifest_of(tmp_path / "moved", "face", "gap"), out, RECIPE)
    assert (len(moved.videos), moved.removed) == (2, 2), "cut anew"
    assert shards_in(out) == {faces.shard for faces in moved.videos}
    assert "out: moved-data: 1 folder" in caplog.text


def test_a_cache_keeps_what_another_choice_of_videos_needs(data, tmp_path, no_reading):
    tree, config = tmp_path / "tree", ModelConfig(TINY, CropRecipe(96))
    for name in ("train/real/face.mp4", "train/fake/gap.mp4", "train/fake/b.mp4"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(data / (tree / name).name, tree / name)
    for with_fakes in (True, False):
        opened = open_data(DataRequest(tree), config, splits=("train",), with_fakes=with_fakes)
        assert opened.faces("train").removed == 0
    no_reading()
    whole = open_data(DataRequest(tree), config, splits=("train",))
    assert len(whole.faces("train").videos) == 3


def test_who_changes_the_split_is_told(data, tmp_path, caplog):
    manifest, out = manifest_of(data, "b", "c", "face"), tmp_path / "out"
    prepare(manifest, out, RECIPE)
    b, *others = manifest.videos
    moved = replace(manifest, videos=(*others, replace(b, split="test")))
    prepared = prepare(moved, out, RECIPE)
    assert [v.video.split for v in prepared.videos] == ["train", "train", "test"]
    assert [len(v) for v in prepared.videos] == [NUM_FRAMES] * 3
    assert "out: moved-split: 1 videos are in another split" in caplog.text
    assert "(b.mp4 train -> test)" in caplog.text
    caplog.clear()
    prepare(moved, out, RECIPE)
    assert caplog.text == ""
    assert "former" not in (out / PREPARED_FILE).read_text()
