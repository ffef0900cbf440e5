import os
from dataclasses import replace
from pathlib import Path

import pytest

from istvt.data.prepared import keys as module
from istvt.data.prepared.face_recipe import FaceRecipe
from istvt.data.prepared.keys import code_of_crops, file_part, shard_key, shown_below, video_part
from istvt.presets import CropRecipe, Sampling

RECIPE = FaceRecipe(CropRecipe(96), Sampling(), num_frames=6)


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    (folder / "real").mkdir(parents=True)
    (folder / "real" / "a.mp4").write_bytes(b"video")
    return folder


def key(data, recipe=RECIPE):
    return shard_key(data / "real" / "a.mp4", data, recipe)


def test_a_data_folder_may_be_moved(data, tmp_path, monkeypatch):
    before = key(data)
    monkeypatch.chdir(tmp_path)
    assert key(Path("data")) == before
    assert key(data.rename(tmp_path / "elsewhere")) == before


def test_another_name_size_time_or_recipe_is_another_shard(data):
    video, found = data / "real" / "a.mp4", [key(data)]
    found.append(shard_key(video, data / "real", RECIPE))
    found += [
        key(data, replace(RECIPE, **change))
        for change in (
            {"crop": CropRecipe(96, scale=1.6)},
            {"crop": CropRecipe(96, min_face_px=60)},
            {"sampling": Sampling(frame_step=2)},
            {"max_frames": 5},
            {"windows_per_video": 2},
            {"codec": "jpeg"},
        )
    ]
    os.utime(video, (1, 1))
    found.append(key(data))
    video.write_bytes(b"another")
    os.utime(video, (1, 1))
    found.append(key(data))
    assert len(set(found)) == len(found)


def test_a_name_alone_tells_the_video_and_its_file(data, monkeypatch):
    before = key(data)
    monkeypatch.setattr(module, "CROPS_VERSION", -1)
    assert key(data) != before
    assert file_part(key(data)) == file_part(before)
    (data / "real" / "a.mp4").write_bytes(b"another")
    assert file_part(key(data)) != file_part(before)
    assert video_part(key(data)) == video_part(before)
    other = (data / "real" / "a.mp4").rename(data / "real" / "b.mp4")
    assert video_part(shard_key(other, data, RECIPE)) != video_part(before)


def test_a_video_outside_the_data_folder_is_named_as_a_whole(data, tmp_path):
    assert shown_below(data / "real" / "a.mp4", data) == "real/a.mp4"
    assert shown_below(tmp_path / "b.mp4", data) == (tmp_path / "b.mp4").resolve().as_posix()


def test_version_1_names_shards_as_before_there_were_versions(data):
    """A digest of twelve source files stood in the version's place."""
    os.utime(data / "real" / "a.mp4", (1, 1))
    assert key(data) == "db31dd516ec7fb0e91eb57dcc9530d313b20"
    assert code_of_crops() == "3234ed6b61f7d793276839d3f441612c9e6caf644a728491ed404f8c47b28dd9"


def test_each_version_and_each_detector_has_its_names(data, monkeypatch):
    found = [key(data)]
    monkeypatch.setattr(module, "GRAPH_VERSION", -1)
    found.append(key(data))
    for version in (2, 3):
        monkeypatch.setattr(module, "CROPS_VERSION", version)
        found.append(key(data))
    assert len(set(found)) == len(found)
