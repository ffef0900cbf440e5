from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from istvt.bundle.manifest import ScorePolicy
from istvt.data.layouts.manifest import Label, Video
from istvt.data.prepared import crops as module
from istvt.data.prepared.crops import CropReader, UnwritableError
from istvt.data.prepared.face_recipe import FaceRecipe
from istvt.data.prepared.shards import read_faces, window_starts
from istvt.errors import SourceError
from istvt.faces.mtcnn import MtcnnDetector
from istvt.faces.track import FaceTracker
from istvt.presets import TINY, CropRecipe, ModelConfig, Sampling
from istvt.runtime.pipeline import Pipeline
from istvt.runtime.policy import VerdictPolicy
from istvt.video import source
from istvt.video.source import open_source
from tests.data.faces import write_video

pytest.importorskip("onnxruntime", reason="face detection needs ONNX Runtime")

RECIPE = FaceRecipe(CropRecipe(96), Sampling(), num_frames=6)
NUM_FRAMES = 12


@pytest.fixture
def read(tmp_path):
    def read(path, recipe=RECIPE):
        shard = tmp_path / "out" / f"{path.stem}.safetensors"
        CropReader(recipe).write(path, shard)
        return read_faces(shard, Video(path, Label.REAL, "train"))

    return read


def test_every_frame_gives_one_levelled_crop_centred_on_the_nose(videos, read):
    faces = read(videos / "face.mp4")
    assert faces.indices.tolist() == list(range(NUM_FRAMES))
    assert len(set(faces.track_ids)) == len(set(faces.runs)) == 1
    assert faces.broken is None
    loaded = faces.load(range(NUM_FRAMES))
    assert loaded.images.shape == (NUM_FRAMES, 96, 96, 3)
    assert loaded.images.std() > 30
    eyes, noses = loaded.landmarks[:, :2], loaded.landmarks[:, 2]
    assert np.abs(eyes[:, 0, 1] - eyes[:, 1, 1]).max() < 0.1, "the eyes are level"
    assert np.abs(noses - 47.5).max() < 0.1, "pixel centres run from 0 to 95"
    sides = (loaded.boxes_xyxy[:, 2:] - loaded.boxes_xyxy[:, :2]).max(axis=1)
    assert ((sides > 60) & (sides < 192)).all()


def test_landmarks_are_where_the_crop_shows_them(videos, read):
    """What the detector finds in the crop itself is where the shard says that it is."""
    size_px = 192
    recipe = replace(RECIPE, crop=CropRecipe(size_px, scale=1.6))
    loaded = read(videos / "face.mp4", recipe).load([3])
    [found] = MtcnnDetector(threads=1).detect(loaded.images[0])
    assert np.abs(found.landmarks - loaded.landmarks[0]).max() < 0.025 * size_px


def test_a_lost_face_ends_a_run(videos, read):
    faces = read(videos / "gap.mp4")
    assert {7, 8}.isdisjoint(faces.indices)
    before, after = faces.runs[faces.indices < 7], faces.runs[faces.indices > 8]
    assert set(before) == {0}
    assert len(after)
    assert min(after) > 0
    for start in window_starts(faces.runs, 3):
        window = faces.indices[start : start + 3]
        assert (np.diff(window) == 1).all()


class Paused:
    """A recording that was paused for ten seconds before its sixth frame."""

    def __init__(self, whole):
        self.whole = whole

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.whole.close()

    def __iter__(self):
        for frame in self.whole:
            yield replace(frame, time_s=frame.time_s + 10 * (frame.index >= 6))


def test_a_hole_in_time_ends_a_run_too(videos, read, monkeypatch):
    opened = source.open_source
    monkeypatch.setattr(source, "open_source", lambda *a, **named: Paused(opened(*a, **named)))
    faces = read(videos / "face.mp4")
    assert faces.indices.tolist() == list(range(NUM_FRAMES))
    assert faces.runs.tolist() == [0] * 6 + [1] * 6


def test_the_smallest_face_is_the_recipes(videos, read):
    faces = read(videos / "face.mp4", replace(RECIPE, crop=CropRecipe(96, min_face_px=180)))
    assert (len(faces), faces.frames_read) == (0, NUM_FRAMES)
    assert faces.fault(6) == f"no face in {NUM_FRAMES} frames"


def test_no_more_frames_are_read_than_asked(videos, read):
    faces = read(videos / "face.mp4", replace(RECIPE, max_frames=5))
    assert (len(faces), faces.frames_read) == (5, 5)
    assert faces.fault(5) is None
    assert faces.fault(6) == ("no track of 6 consecutive frames: a face was found in 5 of 5")


@pytest.mark.parametrize(("windows", "kept"), [(1, [5, 6, 7]), (2, [2, 3, 4, 7, 8, 9]), (99, None)])
def test_only_the_faces_of_some_windows_are_kept(videos, read, windows, kept):
    every = read(videos / "face.mp4", replace(RECIPE, num_frames=3))
    images = every.load(range(NUM_FRAMES)).images
    faces = read(videos / "face.mp4", replace(RECIPE, num_frames=3, windows_per_video=windows))
    kept = kept or list(range(NUM_FRAMES))
    assert faces.indices.tolist() == kept
    assert len(window_starts(faces.runs, 3)) == (windows if windows < 99 else NUM_FRAMES - 2)
    assert (faces.load(range(len(kept))).images == images[kept]).all()
    assert (faces.times_s == every.times_s[kept]).all()
    assert faces.frames_read == NUM_FRAMES


def test_jpeg_is_smaller_and_close(videos, read):
    exact = read(videos / "face.mp4")
    images, size = exact.load(range(NUM_FRAMES)).images, exact.num_bytes
    faces = read(videos / "face.mp4", replace(RECIPE, codec="jpeg"))
    error = faces.load(range(NUM_FRAMES)).images.astype(float) - images
    assert 0 < np.sqrt((error**2).mean()) < 3
    assert faces.num_bytes < 0.6 * size


def test_one_of_two_people_of_like_size_is_followed_throughout(media, read):
    faces = read(media / "head_turn_two_people.gif")
    assert len(set(faces.track_ids)) == 1
    assert len(faces) == faces.frames_read == 51 + TINY.num_frames - 1


def test_after_a_track_has_ended_another_face_is_chosen(face_images, tmp_path, read):
    blank = np.full_like(face_images[0], 90)
    images = [*face_images[:4], *[blank] * 13, *face_images[4:]]
    faces = read(write_video(tmp_path / "away.mp4", images))
    assert faces.track_ids[:4].tolist() == [0] * 4
    assert set(faces.track_ids[4:]) == {1}  # after a search, which is every fifth frame
    assert set(faces.runs[:4]).isdisjoint(faces.runs[4:])


def test_after_a_cut_another_face_is_chosen(media, read):
    recipe = replace(RECIPE, sampling=Sampling(frame_step=2))
    faces = read(media / "stage_four_shots_640x360.mp4", recipe)
    shots = [range(0, 20), range(20, 82), range(82, 211), range(211, 275)]
    seen = [
        {track for track, at in zip(faces.track_ids, faces.indices, strict=True) if at in shot}
        for shot in shots
    ]
    assert seen[0]
    assert seen[2]
    assert seen[3]
    assert sum(len(tracks) for tracks in seen) == len(set(faces.track_ids))
    assert len(window_starts(faces.runs, 6))


def test_what_cannot_be_read_leaves_no_file(videos, tmp_path):
    with pytest.raises(SourceError, match=r"cut\.mp4"):
        CropReader(RECIPE).write(videos / "cut.mp4", tmp_path / "out" / "cut.safetensors")
    assert not list((tmp_path / "out").iterdir())


def test_what_was_read_before_a_fault_is_kept(face_images, tmp_path, read):
    half = tmp_path / "half.mkv"
    write_video(half, face_images * 4)
    content = half.read_bytes()
    half.write_bytes(content[: len(content) * 2 // 3])
    faces = read(half)
    assert faces.broken is not None
    assert str(tmp_path) not in faces.broken, "a folder that is moved tells no old place"
    assert 0 < len(faces) < 4 * NUM_FRAMES
    assert faces.fault(6).startswith("only partly read: broken recording, ")


def test_a_full_disk_is_no_videos_fault(videos, tmp_path, monkeypatch):
    def fail(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "atomic_file", fail)
    with pytest.raises(UnwritableError, match="No space left on device"):
        CropReader(RECIPE).write(videos / "face.mp4", tmp_path / "a.safetensors")


def test_a_long_videos_crops_go_through_a_file(videos, tmp_path, read, monkeypatch):
    before = read(videos / "face.mp4").shard.read_bytes()
    monkeypatch.setattr(module, "IN_MEMORY_BYTES", 1000)
    assert read(videos / "face.mp4").shard.read_bytes() == before


def stream(path, config, num_frames):
    """The crops of the first frames as streaming cuts them: `(index, bytes)`."""
    detector = MtcnnDetector(min_face_px=config.crop.min_face_px, threads=1)
    tracker = FaceTracker(detector)
    pipeline = Pipeline(tracker, config, verdicts=VerdictPolicy(), scores=ScorePolicy())
    with open_source(path) as source:
        seen = [pipeline.see(frame) for frame in islice(source, num_frames)]
    return [(one.frame.index, crop.tobytes()) for one in seen for crop in one.crops]


@pytest.mark.parametrize(
    ("sampling", "num_samples"),
    [(Sampling(frame_step=1), 40), (Sampling(frame_step=None, sample_fps=10.0), 14)],
)
def test_training_and_streaming_see_the_same_crops(media, read, sampling, num_samples):
    path, config = media / "one_face_480x480.mp4", ModelConfig(TINY, CropRecipe(96), sampling)
    faces = read(path, FaceRecipe.of_model(config, max_frames=num_samples))
    crops = [crop.tobytes() for crop in faces.load(range(num_samples)).images]
    stored = list(zip(faces.indices.tolist(), crops, strict=True))
    assert len(stored) == num_samples
    assert stored == stream(path, config, stored[-1][0] + 1)
