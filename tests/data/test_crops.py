import shutil
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from istvt.data import crops as module
from istvt.data.crops import read_crops
from istvt.data.manifest import Label, Video
from istvt.data.synthetic import ClipRecipe, cut_portrait, make_clip
from istvt.data.windows import load_split
from istvt.errors import DataError
from istvt.export.bundle import ScorePolicy
from istvt.faces.mtcnn import MtcnnDetector
from istvt.faces.track import FaceTracker
from istvt.presets import TINY, CropRecipe, ModelConfig, Sampling
from istvt.records import Frame
from istvt.runtime.pipeline import Pipeline
from istvt.runtime.policy import VerdictPolicy
from istvt.video.source import open_source
from istvt.video.writer import VideoWriter
from tests.fakes import FakeScorer

pytest.importorskip("onnxruntime", reason="face detection needs ONNX Runtime")

CONFIG = ModelConfig(TINY, CropRecipe(96))
NUM_FRAMES = 12


def write(path, images):
    with VideoWriter(path, fps=25, size_wh=(192, 192)) as writer:
        for image in images:
            writer.write(image)
    return path


@pytest.fixture(scope="module")
def clip(astronaut, face):
    portrait = cut_portrait(astronaut, [face], name="astronaut", size_px=192)
    recipe = ClipRecipe(size_px=192, num_frames=NUM_FRAMES)
    return list(make_clip(portrait, seed=2, recipe=recipe))


@pytest.fixture(scope="module")
def made(tmp_path_factory, clip):
    """Four files: a face, no face, a face that is lost for a while, and a file cut short."""
    folder = tmp_path_factory.mktemp("videos")
    images = [image for image, _ in clip]
    blank = np.full_like(images[0], 90)
    write(folder / "face.mp4", images)
    write(folder / "empty.mp4", [blank] * NUM_FRAMES)
    write(folder / "gap.mp4", [*images[:7], blank, blank, *images[7:]])
    whole = (folder / "face.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    return folder


def videos(folder, *names):
    return [Video(folder / f"{name}.mp4", Label.REAL, "train") for name in names]


def test_every_frame_gives_one_levelled_crop_centred_on_the_nose(made, clip, tmp_path):
    [video], skipped = read_crops(videos(made, "face"), CONFIG, cache=tmp_path)
    assert skipped == []
    assert video.indices == tuple(range(NUM_FRAMES))
    assert len(set(video.track_ids)) == 1
    crops = video.load(range(NUM_FRAMES))
    assert crops.shape == (NUM_FRAMES, 96, 96, 3)
    assert crops.std() > 30


def test_a_lost_face_leaves_a_gap_that_no_window_spans(made, tmp_path):
    [video], _ = read_crops(videos(made, "gap"), CONFIG, cache=tmp_path)
    assert {7, 8}.isdisjoint(video.indices)
    for ref in module_windows(video):
        assert 7 not in range(video.indices[ref.rows[0]], video.indices[ref.rows[-1]])


def module_windows(video):
    from istvt.data.windows import windows_of

    refs = windows_of(video, replace(CONFIG, preset=replace(TINY, num_frames=3)))
    assert refs
    return refs


def test_a_second_reading_opens_no_video(made, tmp_path, monkeypatch):
    first, _ = read_crops(videos(made, "face"), CONFIG, cache=tmp_path)
    monkeypatch.setattr(module._Reader, "read", None)
    again, _ = read_crops(videos(made, "face"), CONFIG, cache=tmp_path)
    assert again == first


@pytest.mark.parametrize("change", ["recipe", "least face", "video", "half an entry", "limit"])
def test_a_change_is_read_anew(made, tmp_path, change):
    path = shutil.copy(made / "face.mp4", tmp_path / "face.mp4")
    cache, config, limit = tmp_path / "cache", CONFIG, None
    [before], _ = read_crops(videos(tmp_path, "face"), config, cache=cache)
    match change:
        case "recipe":
            config = replace(CONFIG, crop=CropRecipe(96, scale=1.6))
        case "least face":
            config = replace(CONFIG, crop=CropRecipe(96, min_face_px=60))
        case "video":
            shutil.copy(made / "gap.mp4", path)
        case "half an entry":
            before.pixels.write_bytes(b"half")
        case "limit":
            limit = 5
    [after], _ = read_crops(videos(tmp_path, "face"), config, cache=cache, max_frames=limit)
    if change == "half an entry":
        assert after.is_whole
    else:
        assert after.pixels != before.pixels
    assert after.frames_read == {"limit": 5, "video": NUM_FRAMES + 2}.get(change, NUM_FRAMES)


@pytest.mark.parametrize("name", module.SOURCES)
def test_other_code_means_other_crops(tmp_path, monkeypatch, name):
    module._digest_of_code.cache_clear()
    before = module._digest_of_code()
    module._digest_of_code.cache_clear()
    for source in module.SOURCES:
        path = tmp_path / source
        path.parent.mkdir(exist_ok=True)
        shutil.copy(Path(module.__file__).parents[1] / source, path)
    monkeypatch.setattr(module, "files", lambda _: tmp_path)
    assert module._digest_of_code() == before
    module._digest_of_code.cache_clear()
    with (tmp_path / name).open("a") as stream:
        stream.write("# changed")
    assert module._digest_of_code() != before
    module._digest_of_code.cache_clear()


def test_the_digest_of_the_code_is_in_the_key(made, monkeypatch):
    [video] = videos(made, "face")
    reader = module._Reader(CONFIG, None)
    before = reader.key(video)
    monkeypatch.setattr(module, "GRAPH_VERSION", -1)
    assert reader.key(video) != before
    monkeypatch.undo()
    monkeypatch.setattr(module, "_digest_of_code", lambda: "other")
    assert reader.key(video) != before


def test_the_smallest_face_is_the_recipes(made, tmp_path):
    config = replace(CONFIG, crop=CropRecipe(96, min_face_px=180))
    [video], _ = read_crops(videos(made, "face"), config, cache=tmp_path)
    assert (video.indices, video.frames_read) == ((), NUM_FRAMES)


def test_one_of_two_people_of_like_size_is_followed_throughout(media, tmp_path):
    [video], _ = read_crops(
        [Video(media / "head_turn_two_people.gif", Label.REAL, "train")], CONFIG, cache=tmp_path
    )
    assert len(set(video.track_ids)) == 1
    assert len(video.indices) == video.frames_read == 51 + TINY.num_frames - 1


def test_after_a_track_has_ended_another_face_is_chosen(clip, tmp_path):
    images = [image for image, _ in clip]
    write(tmp_path / "away.mp4", [*images[:4], *[np.full_like(images[0], 90)] * 13, *images[4:]])
    [video], _ = read_crops(videos(tmp_path, "away"), CONFIG, cache=tmp_path)
    assert video.track_ids[:4] == (0,) * 4
    assert set(video.track_ids[4:]) == {1}  # after a search, which is every fifth frame


def test_after_a_cut_another_face_is_chosen(media, tmp_path):
    from istvt.data.windows import windows_of

    [video], _ = read_crops(
        [Video(media / "stage_four_shots_640x360.mp4", Label.REAL, "train")],
        replace(CONFIG, sampling=Sampling(frame_step=2)),
        cache=tmp_path,
    )
    shots = [range(0, 20), range(20, 82), range(82, 211), range(211, 275)]
    seen = [
        {track for track, at in zip(video.track_ids, video.indices, strict=True) if at in shot}
        for shot in shots
    ]
    assert seen[0]
    assert seen[2]
    assert seen[3]
    assert sum(len(tracks) for tracks in seen) == len(set(video.track_ids))
    assert windows_of(video, replace(CONFIG, sampling=Sampling(frame_step=2)))


@pytest.mark.parametrize(
    "kind", [PermissionError(13, "Permission denied"), OSError(28, "No space left on device")]
)
def test_a_cache_that_cannot_be_written_is_an_error(made, tmp_path, monkeypatch, kind):
    def fail(_):
        raise kind

    monkeypatch.setattr(module, "atomic_file", fail)
    with pytest.raises(DataError, match=f"{kind.strerror}.*--cache"):
        read_crops(videos(made, "face"), CONFIG, cache=tmp_path)


def test_an_interrupt_waits_for_no_video(made, tmp_path, monkeypatch):
    frames = []

    class Endless:
        def __init__(self, path):
            self.path = path

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def __iter__(self):
            for index in range(2000):
                frames.append(index)
                time.sleep(0.005)
                yield Frame(np.zeros((48, 64, 3), np.uint8), index, index / 25, "endless")

    def interrupt(*_):
        raise KeyboardInterrupt

    from istvt.video import source

    opened = source.open_source
    monkeypatch.setattr(
        source, "open_source", lambda path: Endless(path) if path.stem == "gap" else opened(path)
    )
    monkeypatch.setattr(module, "count_cores", lambda: 2)
    with pytest.raises(KeyboardInterrupt):
        read_crops(videos(made, "face", "gap"), CONFIG, cache=tmp_path, progress=interrupt)
    assert 0 < len(frames) < 2000
    assert not list(tmp_path.glob(".*")), "half entries are left"
    assert len(list(tmp_path.glob("*.json"))) == 1


def test_what_cannot_be_read_is_listed_with_its_reason(made, tmp_path):
    read, skipped = read_crops(videos(made, "cut", "face", "missing"), CONFIG, cache=tmp_path)
    assert [video.video.path.name for video in read] == ["face.mp4"]
    assert [item.path.name for item in skipped] == ["cut.mp4", "missing.mp4"]
    assert all(str(item.path) in item.reason for item in skipped)


def test_a_cache_that_cannot_be_made_is_an_error(made, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match=r"name another folder.*--cache"):
        read_crops(videos(made, "face"), CONFIG, cache=tmp_path / "file" / "cache")


@pytest.fixture
def data(made, tmp_path):
    for kind, names in (("real", ("face", "empty", "cut")), ("fake", ("face",))):
        part = tmp_path / "data" / "val" / kind
        part.mkdir(parents=True)
        for name in names:
            shutil.copy(made / f"{name}.mp4", part)
    return tmp_path / "data"


def test_a_split_counts_what_gives_no_window(data):
    seen = []
    split = load_split(data, "val", CONFIG, progress=lambda *args: seen.append(args))
    assert [refs[0].label for refs in split.videos] == [0, 1]
    assert [len(refs) for refs in split.videos] == [NUM_FRAMES - 5] * 2
    reasons = {item.path.name: item.reason for item in split.skipped}
    assert set(reasons) == {"cut.mp4", "empty.mp4"}
    assert reasons["empty.mp4"] == f"no face in {NUM_FRAMES} frames"
    assert seen == [("faces in val", done, 4) for done in (1, 2, 3, 4)]
    assert (data / ".istvt-cache").is_dir()


def test_a_class_that_gives_nothing_is_an_error_with_the_reasons(data):
    (data / "val" / "real" / "face.mp4").unlink()
    with pytest.raises(DataError, match=r"no real video .*2 skipped: .*empty.mp4: no face"):
        load_split(data, "val", CONFIG)


def stored(path, positions):
    indices, times_s = zip(*positions, strict=True)
    return module.VideoCrops(
        video=Video(path, Label.REAL, "train"),
        pixels=path.with_suffix(".rgb"),
        size_px=96,
        track_ids=(0,) * len(positions),
        indices=indices,
        times_s=times_s,
        frames_read=len(positions),
        broken=None,
    )


def test_stored_frames_are_judged_as_they_were_when_they_were_read(tmp_path):
    from istvt.data.windows import windows_of

    config = replace(CONFIG, preset=replace(TINY, num_frames=2))
    paused = [(index, index / 25 + 10 * (index >= 4)) for index in range(8)]
    refs = windows_of(stored(tmp_path, paused), config)
    assert (3, 4) not in [ref.rows for ref in refs]
    assert len(refs) == 6
    fifth = replace(config, sampling=Sampling(frame_step=5))
    refs = windows_of(stored(tmp_path, [(5 * i, t / 5) for i, t in enumerate([0, 1, 2, 8])]), fifth)
    assert [ref.rows for ref in refs] == [(0, 1), (1, 2)]
    clock = replace(config, sampling=Sampling(frame_step=None, sample_fps=10.0))
    apart = [(11, 0.44), (15, 0.6)]  # at the ticks 4 and 6 of a clock from 0
    assert windows_of(stored(tmp_path, apart), clock) == ()
    together = [(12, 0.48), (16, 0.64)]  # at 5 and 6
    assert len(windows_of(stored(tmp_path, together), clock)) == 1


class RecordingScorer(FakeScorer):
    """Keeps the crops that it is given."""

    def __init__(self, preset):
        super().__init__(preset)
        self.crops = []

    def encode(self, faces):
        self.crops.extend(face.tobytes() for face in faces)
        return super().encode(faces)


def stream(path, config, num_frames):
    """The crops of the first frames as streaming cuts them: `(index, bytes)`."""
    scorer = RecordingScorer(config.preset)
    detector = MtcnnDetector(min_face_px=config.crop.min_face_px, threads=1)
    pipeline = Pipeline(
        scorer,
        FaceTracker(detector),
        config,
        verdicts=VerdictPolicy(),
        scores=ScorePolicy(),
    )
    streamed = []
    with open_source(path) as source:
        for frame in islice(source, num_frames):
            pipeline.feed(frame)
            streamed += [(frame.index, crop) for crop in scorer.crops]
            scorer.crops.clear()
    return streamed


@pytest.mark.parametrize(
    ("sampling", "num_samples"),
    [(Sampling(frame_step=1), 40), (Sampling(frame_step=None, sample_fps=10.0), 14)],
)
def test_training_and_streaming_see_the_same_crops(media, tmp_path, sampling, num_samples):
    path, config = media / "one_face_480x480.mp4", replace(CONFIG, sampling=sampling)
    [video], _ = read_crops(
        [Video(path, Label.REAL, "train")], config, cache=tmp_path, max_frames=num_samples
    )
    crops = [crop.tobytes() for crop in video.load(range(num_samples))]
    stored = list(zip(video.indices, crops, strict=True))
    assert len(stored) == num_samples
    assert stored == stream(path, config, video.indices[-1] + 1)
