"""The crops of one clip are what they were when `CROPS_VERSION` was last raised.

What is counted must be equal. What is computed may differ between CPUs: ONNX Runtime, swscale and
OpenCV round differently with other instructions. Each limit lies above what was measured when every
pixel was changed by up to 1 grey level, and every output of the detector's networks by 1e-4.
"""

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="face detection needs ONNX Runtime")

from istvt.data.prepared.keys import CROPS_VERSION
from tests.data.prepared.golden_crops import GOLDEN_FILE, describe, write_clip

ADVICE = (
    "the same video gives other crops: bump CROPS_VERSION in istvt/data/keys.py if you mean it, "
    "then run `python -m tests.data.prepared.golden_crops`"
)
EXACT = ("indices", "track_ids", "runs", "frames_read", "shape")
# The largest difference within a face: of most faces (the median), and of any.
PLACES = {"times_s": (1e-6, 1e-6), "landmarks": (0.01, 0.01), "boxes_xyxy": (0.01, 0.01)}  # s, px
CUT = {  # about a face that is the same on every CPU; grey levels
    "png": PLACES | {"colours": (1.5, 1.5), "details": (0.75, 2.0)},
    "jpeg": PLACES | {"colours": (1.5, 2.0), "details": (1.5, 2.5)},
}
FOUND = {"landmarks": (0.75, 2.5), "boxes_xyxy": (1.5, 5.0)}  # a bit may move a box by a pixel
JPEG_BYTES = 0.03  # of all


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN_FILE) as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def found(tmp_path_factory, astronaut):
    return describe(write_clip(tmp_path_factory.mktemp("golden") / "clip.mkv", astronaut))


def check(found, expected, limits):
    for key in (key for key in EXACT if key in found):
        np.testing.assert_array_equal(found[key], expected[key], f"{key}: {ADVICE}")
    for key, (typical, worst) in limits.items():
        off = np.abs(found[key].astype(np.float64) - expected[key])
        off = off.reshape(len(off), -1).max(axis=1)
        assert np.median(off) <= typical, f"{key} off by {np.median(off):.3g}: {ADVICE}"
        assert off.max() <= worst, f"{key} off by {off.max():.3g}: {ADVICE}"


def part(values, name):
    return {
        key.removeprefix(f"{name}/"): value
        for key, value in values.items()
        if key.startswith(f"{name}/")
    }


def test_the_golden_crops_are_of_this_version(golden):
    assert golden["version"] == CROPS_VERSION, "run `python -m tests.data.prepared.golden_crops`"


@pytest.mark.parametrize("name", CUT)
def test_the_same_faces_give_the_same_crops(golden, found, name):
    check(part(found, name), part(golden, name), CUT[name])


def test_a_crop_takes_as_many_bytes_of_jpeg(golden, found):
    share = found["jpeg/num_bytes"] / golden["jpeg/num_bytes"]
    assert share == pytest.approx(1, abs=JPEG_BYTES), ADVICE


def test_the_same_video_gives_the_same_faces(golden, found):
    check(part(found, "found"), part(golden, "found"), FOUND)
    assert len(set(golden["found/track_ids"])) == 3, "the clip has a face that goes, and a cut"
    assert len(set(golden["found/runs"])) == 4
