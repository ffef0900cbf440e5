"""Data sets opened once, prepared or raw, and read split by split."""

import json
import shutil
from collections import Counter
from dataclasses import replace

import pytest

from istvt.data.dataset import CACHE_FOLDER, DataRequest, open_data
from istvt.data.layouts.choose import LayoutOptions, read_layout
from istvt.data.layouts.manifest import SPLITS
from istvt.data.prepared import prepare as preparing
from istvt.data.prepared.face_recipe import FaceRecipe
from istvt.data.prepared.folder import (
    MANIFEST_FILE,
    PREPARED_FILE,
    Unread,
    begin_prepared,
    open_prepared,
    write_prepared,
)
from istvt.data.prepared.prepare import prepare
from istvt.errors import DataError, UsageError
from istvt.presets import TINY, CropRecipe, ModelConfig, Sampling
from istvt.records import ignore
from tests.data.layouts.trees import make_celebdf, make_ffpp, note_listings

CONFIG = ModelConfig(TINY, CropRecipe(96))
NUM_FRAMES = 12


def load_split(data, split, config, *, with_fakes=True, progress=ignore, **options):
    """Open a data set for one split, and list its windows."""
    request = DataRequest(data, **options)
    opened = open_data(request, config, splits=(split,), with_fakes=with_fakes, progress=progress)
    return opened.split(split)


def read_data(data, *, splits=SPLITS, **options):
    """Open a data set, and give what was listed."""
    return open_data(DataRequest(data, **options), CONFIG, splits=splits).manifest


@pytest.fixture
def data(videos, tmp_path):
    """Real and fake in `val`, with a video that is broken and one without a face; no `train`."""
    for kind, names in (("real", ("face", "empty", "cut")), ("fake", ("face",))):
        part = tmp_path / "data" / "val" / kind
        part.mkdir(parents=True)
        for name in names:
            shutil.copy(videos / f"{name}.mp4", part)
    return tmp_path / "data"


def test_a_data_set_is_prepared_inside_itself(data):
    seen = []
    split = load_split(data, "val", CONFIG, progress=lambda *args: seen.append(args))
    assert [video.label for video in split.videos] == [0, 1]
    assert [len(video) for video in split.videos] == [NUM_FRAMES - 5] * 2
    assert {item.path.name for item in split.skipped} == {"cut.mp4", "empty.mp4"}
    assert seen == [("faces in val", done, 4) for done in range(5)]
    assert [path.name for path in data.glob(".*")] == [CACHE_FOLDER]
    names = [path.name for path in (data / CACHE_FOLDER).iterdir()]
    assert names == ["val-96px-6843de3d"], "what was prepared before would be cut again"
    seen.clear()
    again = load_split(data, "val", CONFIG, progress=lambda *args: seen.append(args))
    assert [len(video) for video in again.videos] == [len(video) for video in split.videos]
    assert seen == [("faces in val", 3, 4), ("faces in val", 4, 4)], "only `cut` is tried again"


def test_the_cache_is_where_it_is_asked_for_and_keeps_recipes_apart(data, tmp_path):
    load_split(data, "val", CONFIG, cache=tmp_path / "cache")
    other = load_split(data, "val", CONFIG, cache=tmp_path / "cache", max_frames=7)
    assert [len(video) for video in other.videos] == [2, 2]
    assert len(list((tmp_path / "cache").iterdir())) == 2
    assert not (data / CACHE_FOLDER).exists()


@pytest.fixture
def prepared(data, tmp_path):
    def make(**change):
        recipe = replace(FaceRecipe.of_model(CONFIG), **change)
        return prepare(read_layout(data, splits=("val",)), tmp_path / "prepared", recipe).folder

    return make


def test_a_prepared_folder_is_read_without_its_data(data, prepared, tmp_path):
    before = load_split(data, "val", CONFIG)
    folder = prepared()
    shutil.rmtree(data)
    split = load_split(folder, "val", CONFIG)
    assert [len(video) for video in split.videos] == [NUM_FRAMES - 5] * 2
    assert split.skipped == before.skipped
    assert read_data(folder, splits=("val",)).videos == open_prepared(folder).manifest.videos
    with pytest.raises(DataError, match="no video in test/real, test/fake"):
        load_split(folder, "test", CONFIG)


def test_only_the_asked_methods_are_taken(data, videos, prepared):
    table = data / "table.csv"
    (data / "val" / "fake" / "other.mp4").write_bytes((videos / "face.mp4").read_bytes())
    table.write_text(
        "path,label,split,method\nval/real/face.mp4,real,val,\n"
        "val/fake/face.mp4,fake,val,swap\nval/fake/other.mp4,fake,val,talk\n"
    )
    recipe = FaceRecipe.of_model(CONFIG)
    folder = prepare(read_layout(table), data.parent / "prepared", recipe).folder
    for place in (folder, table):
        split = load_split(place, "val", CONFIG, layout=LayoutOptions(methods=("talk",)))
        assert [video.video.method for video in split.videos] == ["", "talk"]
        with pytest.raises(DataError, match=r"no fake .* is by smile"):
            load_split(place, "val", CONFIG, layout=LayoutOptions(methods=("smile",)))
    assert len(load_split(folder, "val", CONFIG).videos) == 3


def test_what_was_prepared_is_not_taken_for_another_compression_or_layout(tmp_path):
    data = make_ffpp(tmp_path / "ffpp", ("c23", "c40"))
    manifest = read_layout(data, LayoutOptions(compression="c40"))
    folder, recipe = tmp_path / "prepared", FaceRecipe.of_model(CONFIG)
    begin_prepared(folder, recipe)
    entries = [Unread(video, "not read in this test") for video in manifest.videos]
    write_prepared(folder, recipe, manifest, entries)
    for fitting in (LayoutOptions(), LayoutOptions("ffpp", "c40")):
        assert read_data(folder, layout=fitting).videos == manifest.videos
    with pytest.raises(UsageError, match=r"compression is 'c23', but .* prepared from 'c40'"):
        read_data(folder, layout=LayoutOptions(compression="c23"))
    with pytest.raises(UsageError, match=r"layout is 'folder', but .* prepared from 'ffpp'"):
        read_data(folder, layout=LayoutOptions("folder"))


def test_the_official_test_list_is_not_looked_for_where_people_are_kept_apart(tmp_path):
    data, recipe = make_celebdf(tmp_path / "celebdf"), FaceRecipe.of_model(CONFIG)
    keep = LayoutOptions(shared_identities="keep")
    for name, options in (("apart", LayoutOptions()), ("official", keep)):
        manifest = read_layout(data, options)
        begin_prepared(tmp_path / name, recipe)
        entries = [Unread(video, "not read in this test") for video in manifest.videos]
        write_prepared(tmp_path / name, recipe, manifest, entries)
    assert len(read_data(tmp_path / "official", splits=("test",), layout=keep).videos) == 5
    with pytest.raises(UsageError, match=r"shared-identities is 'keep', but .* from 'drop'"):
        read_data(tmp_path / "apart", layout=keep)


@pytest.mark.parametrize("is_prepared", [False, True])
def test_fakes_that_are_not_used_are_not_read_and_may_be_unreadable(data, prepared, is_prepared):
    (data / "val" / "fake" / "face.mp4").write_text("no video")
    place, seen = prepared() if is_prepared else data, []
    split = load_split(
        place, "val", CONFIG, with_fakes=False, progress=lambda *args: seen.append(args)
    )
    assert [(video.label, video.video.path.name) for video in split.videos] == [(0, "face.mp4")]
    assert {item.path.parent.name for item in split.skipped} == {"real"}
    assert seen == ([] if is_prepared else [("faces in val", done, 3) for done in range(4)])
    with pytest.raises(DataError, match="no fake video in val"):
        load_split(place, "val", CONFIG)


def test_fakes_of_real_videos_need_some(data, prepared):
    shutil.rmtree(data / "val" / "real")
    for place in (data, prepared()):
        with pytest.raises(
            DataError, match=r"has no video in val/real; it has val/fake: add some$"
        ):
            load_split(place, "val", CONFIG, with_fakes=False)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            ModelConfig(replace(TINY, image_size=112), CropRecipe(112)),
            r"prepared with crop.size_px 96, not 112 as the model takes",
        ),
        (replace(CONFIG, crop=CropRecipe(96, scale=1.5)), r"crop.scale 1.25, not 1.5"),
        (
            replace(CONFIG, sampling=Sampling(None, 7.0)),
            r"istvt prepare .*data --out FOLDER --preset tiny --sample-fps 7",
        ),
    ],
)
def test_faces_for_another_model_are_refused(prepared, config, message):
    folder = prepared()
    with pytest.raises(DataError, match=message):
        load_split(folder, "val", config)


def test_longer_windows_need_all_faces(prepared):
    eight = replace(CONFIG, preset=replace(TINY, num_frames=8))
    split = load_split(prepared(), "val", eight)
    assert [len(video) for video in split.videos] == [NUM_FRAMES - 7] * 2


def test_longer_windows_are_not_in_a_thinned_folder(prepared):
    folder = prepared(windows_per_video=1)
    assert [len(video) for video in load_split(folder, "val", CONFIG).videos] == [1, 1]
    eight = replace(CONFIG, preset=replace(TINY, num_frames=8))
    with pytest.raises(DataError, match="num_frames 6, not 8"):
        load_split(folder, "val", eight)


def test_fewer_frames_than_were_prepared_are_not_to_be_had(prepared):
    with pytest.raises(DataError, match=r"max_frames None, not 7(.|\n)* --max-frames 7$"):
        load_split(prepared(), "val", CONFIG, max_frames=7)


@pytest.mark.parametrize("name", [MANIFEST_FILE, "index.safetensors"])
def test_a_folder_that_is_not_whole_is_not_opened(prepared, name):
    folder = prepared()
    with (folder / name).open("ab") as stream:
        stream.write(b"\n")
    with pytest.raises(DataError, match=rf"{name} is damaged or incomplete: run the same"):
        open_data(DataRequest(folder), CONFIG, splits=("val",))


def test_an_unfinished_folder_is_not_opened(tmp_path, prepared):
    begin_prepared(tmp_path / "begun", FaceRecipe.of_model(CONFIG))
    with pytest.raises(
        DataError, match=r"only partly prepared: run the same `istvt prepare` again"
    ):
        load_split(tmp_path / "begun", "val", CONFIG)
    with pytest.raises(DataError, match="holds no prepared faces"):
        open_prepared(tmp_path)
    folder = prepared()
    facts = json.loads((folder / PREPARED_FILE).read_text())
    for content in ("", "[]", json.dumps({**facts, "format": 9})):
        (folder / PREPARED_FILE).write_text(content)
        with pytest.raises(DataError, match=r"cannot be read|is of format 9"):
            open_prepared(folder)


@pytest.fixture
def listed(monkeypatch):
    return note_listings(monkeypatch)


@pytest.fixture
def whole(videos, tmp_path):
    """A video of each label in each split, no two alike."""
    for number, split in enumerate(SPLITS):
        for kind in ("real", "fake"):
            part = tmp_path / "whole" / split / kind
            part.mkdir(parents=True)
            content = (videos / "face.mp4").read_bytes()
            (part / "a.mp4").write_bytes(content + bytes(2 * number + (kind == "fake")))
    return tmp_path / "whole"


def test_a_folder_is_listed_once_whatever_is_read_of_it(whole, listed):
    parts = [whole / split / kind for split in SPLITS for kind in ("real", "fake")]
    opened = open_data(DataRequest(whole), CONFIG, splits=("train", "val"), keep_apart=True)
    assert sorted(path for path in listed if path in parts) == sorted(parts)
    assert [v.split for v in opened.manifest.videos] == [s for s in SPLITS for _ in range(2)]
    listed.clear()
    for split in ("train", "val", "val"):
        assert [video.label for video in opened.split(split).videos] == [0, 1]
    assert listed == []


def test_a_table_is_read_once(whole, listed):
    table = whole / "table.csv"
    table.write_text(
        "path,label,split\n"
        + "".join(f"{s}/{k}/a.mp4,{k},{s}\n" for s in SPLITS for k in ("real", "fake"))
    )
    opened = open_data(DataRequest(table), CONFIG, splits=("train", "val"), keep_apart=True)
    for split in ("train", "val"):
        assert len(opened.split(split).videos) == 2
    assert listed.count(table) == 1
    assert max(Counter(listed).values()) == 1


def test_a_split_that_was_not_asked_for_is_never_cut(whole):
    opened = open_data(DataRequest(whole), CONFIG, splits=("train", "val"), keep_apart=True)
    with pytest.raises(UsageError, match="was opened only for train, val"):
        opened.split("test")
    assert not (whole / CACHE_FOLDER).exists()


def test_a_copy_in_a_split_that_is_not_read_is_found_before_a_face_is_cut(whole):
    shutil.copy(whole / "train" / "real" / "a.mp4", whole / "test" / "fake" / "b.mp4")
    with pytest.raises(DataError, match="in more than one split"):
        open_data(DataRequest(whole), CONFIG, splits=("train", "val"), keep_apart=True)
    assert not (whole / CACHE_FOLDER).exists()
    open_data(DataRequest(whole), CONFIG, splits=("test",))


def test_a_split_may_be_missing_that_is_only_compared(whole):
    shutil.rmtree(whole / "test")
    opened = open_data(DataRequest(whole), CONFIG, splits=("train", "val"), keep_apart=True)
    assert {video.split for video in opened.manifest.videos} == {"train", "val"}
    shutil.rmtree(whole / "val")
    with pytest.raises(DataError, match="has no video in val"):
        open_data(DataRequest(whole), CONFIG, splits=("train", "val"), keep_apart=True)


def test_a_cache_stays_as_it_is_for_who_lists_more_than_was_listed(whole, no_reading):
    (whole / "test" / "real" / "notes.txt").write_text("in no layout")
    alone = open_data(DataRequest(whole), CONFIG, splits=("val",))
    cut = alone.faces("val")
    before = {path: path.stat().st_mtime_ns for path in cut.folder.rglob("*")}
    no_reading()
    opened = open_data(DataRequest(whole), CONFIG, splits=("train", "val"), keep_apart=True)
    faces = opened.faces("val")
    assert {path: path.stat().st_mtime_ns for path in cut.folder.rglob("*")} == before
    assert [note.kind for note in alone.manifest.notes] == []
    assert [note.kind for note in faces.manifest.notes] == ["unknown-file"]


@pytest.fixture
def no_reading(monkeypatch):
    """Make every reading of a video an error."""

    def read_nothing(jobs, *_, **__):
        assert not jobs, "a video was read"
        return ()

    return lambda: monkeypatch.setattr(preparing, "read_videos", read_nothing)
