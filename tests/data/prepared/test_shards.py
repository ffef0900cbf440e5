from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from istvt.data.layouts.manifest import Label, Video
from istvt.data.prepared.face_recipe import FaceRecipe
from istvt.data.prepared.shards import decode_crop, encode_crop, read_faces
from istvt.errors import DataError, UsageError
from istvt.presets import CropRecipe, Sampling
from tests.data.faces import write_faces

VIDEO = Video(Path("a.mp4"), Label.FAKE, "train")


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (9, 24, 24, 3), dtype=np.uint8)


@pytest.fixture
def faces(tmp_path, images):
    return write_faces(tmp_path, VIDEO, images, runs=[0] * 5 + [2] * 4)


@pytest.mark.parametrize("rows", [range(9), [4], range(2, 8), [7, 2, 2]])
def test_any_rows_are_read(faces, images, rows):
    loaded = faces.load(rows)
    assert (loaded.images == images[list(rows)]).all()
    assert loaded.images.dtype == np.uint8
    assert loaded.landmarks.shape == (len(rows), 5, 2)


def test_a_shard_is_a_safetensors_file(faces, images):
    arrays = load_file(faces.shard)
    assert arrays["offsets"][-1] == len(arrays["images"])
    assert arrays["offsets"].dtype == np.int64
    first = arrays["images"][: arrays["offsets"][1]]
    assert (decode_crop(first) == images[0]).all()
    assert arrays["runs"].tolist() == faces.runs.tolist()


def test_a_window_is_read_without_the_rest(tmp_path):
    """The bytes of the others are overwritten: reading them would fail or change the window."""
    images = np.full((9, 24, 24, 3), 7, np.uint8)
    faces = write_faces(tmp_path, VIDEO, images)
    arrays = load_file(faces.shard)
    size, offsets = faces.shard.stat().st_size, arrays["offsets"]
    start = size - int(offsets[-1])
    with faces.shard.open("r+b") as stream:
        stream.seek(start)
        stream.write(b"\xff" * int(offsets[3]))
        stream.seek(start + int(offsets[6]))
        stream.write(b"\xff" * int(offsets[-1] - offsets[6]))
    assert (faces.load(range(3, 6)).images == 7).all()
    with pytest.raises(DataError, match="hold no crop"):
        faces.load(range(2, 5))


def test_what_is_no_shard_is_an_error(faces):
    content = faces.shard.read_bytes()
    for broken in (content[:-1], b"", b"no such thing", content[:40]):
        faces.shard.write_bytes(broken)
        with pytest.raises(DataError, match=r"cannot be read .*prepare the data again"):
            read_faces(faces.shard, VIDEO)
    faces.shard.unlink()
    with pytest.raises(DataError, match=r"cannot be read .*prepare the data again"):
        faces.load([0])


def test_png_keeps_every_value_and_jpeg_the_colours(images):
    png = FaceRecipe(CropRecipe(24), Sampling(), num_frames=6)
    packed = np.frombuffer(encode_crop(images[0], png), np.uint8)
    assert (decode_crop(packed) == images[0]).all()
    # Red and green columns of one pixel: with colours at half the width they would become brown.
    stripes = np.zeros((24, 24, 3), np.uint8)
    stripes[:, ::2, 0], stripes[:, 1::2, 1] = 255, 255
    jpeg = FaceRecipe(CropRecipe(24), Sampling(), num_frames=6, codec="jpeg", quality=95)
    found = decode_crop(np.frombuffer(encode_crop(stripes, jpeg), np.uint8)).astype(int)
    assert np.abs(found - stripes).max() < 40


@pytest.mark.parametrize(
    "change", [{"codec": "gif"}, {"quality": 0}, {"quality": 101}, {"windows_per_video": 0}]
)
def test_a_recipe_of_nonsense_is_refused(change):
    with pytest.raises(UsageError, match=next(iter(change))):
        FaceRecipe(CropRecipe(24), Sampling(), num_frames=6, **change)
