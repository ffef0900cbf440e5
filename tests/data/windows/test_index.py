import logging
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from istvt.data.layouts.manifest import Label, Manifest, Video
from istvt.data.prepared.face_recipe import FaceRecipe
from istvt.data.prepared.folder import Prepared, Unread
from istvt.data.windows.index import SplitWindows, spread, windows_in, windows_of
from istvt.errors import DataError
from istvt.presets import CropRecipe, Sampling
from tests.data.faces import write_faces

SIZE_PX = 32


@pytest.fixture
def make_faces(tmp_path):
    """As many faces as runs are given, each as bright as its row."""

    def make(runs, *, label=Label.REAL, name="v", split="train", broken=None):
        levels = np.arange(len(runs), dtype=np.uint8)[:, None, None, None]
        images = np.tile(levels, (1, SIZE_PX, SIZE_PX, 3))
        video = Video(Path(f"{name}.mp4"), label, split)
        return write_faces(tmp_path, video, images, runs=runs, broken=broken)

    return make


def rows(refs):
    return [tuple(ref.rows) for ref in refs]


def test_windows_slide_by_one_sampled_frame(make_faces):
    assert rows(windows_of(make_faces([0] * 5), 3)) == [(0, 1, 2), (1, 2, 3), (2, 3, 4)]


def test_no_window_spans_two_runs(make_faces):
    assert rows(windows_of(make_faces([0, 0, 1, 1, 1, 2]), 3)) == [(2, 3, 4)]
    for too_short in ([0, 1, 1], [0], []):
        assert rows(windows_of(make_faces(too_short), 3)) == []


def test_a_window_gives_its_faces_in_order(make_faces):
    windows = windows_of(make_faces([0] * 5, label=Label.FAKE), 3)
    loaded = windows[1].load()
    assert loaded.images.shape == (3, SIZE_PX, SIZE_PX, 3)
    assert loaded.images[:, 0, 0, 0].tolist() == [1, 2, 3]
    assert loaded.landmarks.shape == (3, 5, 2)
    assert loaded.boxes_xyxy.shape == (3, 4)
    assert (windows.label, windows[1].label, windows[1].video.path.name) == (1, 1, "v.mp4")
    assert len(list(windows)) == len(windows) == 3


def test_a_window_goes_to_another_process(make_faces):
    ref = pickle.loads(pickle.dumps(windows_of(make_faces([0] * 5), 3)[1]))
    assert ref.load().images[:, 0, 0, 0].tolist() == [1, 2, 3]


def test_validation_takes_windows_evenly_spread(make_faces):
    videos = [make_faces([0] * 10, name="r"), make_faces([0] * 8, name="f", label=Label.FAKE)]
    split = SplitWindows("train", tuple(windows_of(faces, 3) for faces in videos), ())
    starts = [ref.start for ref in spread(split, 4) if ref.label == 0]
    assert starts == [1, 3, 5, 7]
    assert len(spread(split, None)) == len(spread(split, 99)) == 8 + 6


def prepared_of(*entries):
    recipe = FaceRecipe(CropRecipe(SIZE_PX), Sampling(), num_frames=3)
    manifest = Manifest(Path("data"), "folder", tuple(entry.video for entry in entries))
    return Prepared(Path("prepared"), recipe, manifest, entries)


def test_a_split_counts_what_gives_no_window(make_faces, caplog):
    prepared = prepared_of(
        make_faces([0] * 5, name="real"),
        make_faces([0] * 4, name="fake", label=Label.FAKE),
        make_faces([0, 1, 2], name="flickers"),
        make_faces([], name="dark"),
        make_faces([0] * 3, name="cut", broken="ends after 3 of 9 frames"),
        Unread(Video(Path("lost.mp4"), Label.REAL, "train"), "lost.mp4 cannot be read: gone"),
        make_faces([0] * 9, name="other", split="val"),
    )
    with caplog.at_level(logging.WARNING):
        split = windows_in(prepared, "train", 3)
    assert [(video.video.path.stem, len(video)) for video in split.videos] == [
        ("real", 3),
        ("fake", 2),
        ("cut", 1),
    ]
    assert {item.path.stem: item.reason for item in split.skipped} == {
        "flickers": "no track of 3 consecutive frames: a face was found in 3 of 3",
        "dark": "no face in 0 frames",
        "cut": "only partly read: ends after 3 of 9 frames",
        "lost": "lost.mp4 cannot be read: gone",
    }
    assert "train: 4 of 6 videos with faults: flickers.mp4: no track" in caplog.text


def test_a_label_that_gives_nothing_is_an_error_with_the_reasons(make_faces):
    dark = make_faces([], name="dark", label=Label.FAKE)
    with pytest.raises(DataError, match=r"no fake video .*1 skipped: dark.mp4: no face"):
        windows_in(prepared_of(make_faces([0] * 5), dark), "train", 3)


def test_reals_alone_are_a_split(make_faces):
    split = windows_in(prepared_of(make_faces([0] * 5)), "train", 3)
    assert [video.label for video in split.videos] == [0]
    with pytest.raises(DataError, match="has no video in the split val"):
        windows_in(prepared_of(make_faces([0] * 5)), "val", 3)


def test_windows_need_no_torch():
    code = "import sys, istvt.data.windows.index; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
