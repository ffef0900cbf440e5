"""The pipeline over fakes: squares on black are faces, and bright ones are fake."""

from contextlib import contextmanager

import numpy as np
import pytest

from istvt.bundle.manifest import ScorePolicy
from istvt.errors import BrokenSourceError
from istvt.faces.track import FaceTracker
from istvt.presets import TINY, CropRecipe, ModelConfig, Sampling
from istvt.records import Frame, VerdictKind
from istvt.runtime.pipeline import MAX_FACES_A_BATCH, Pipeline
from istvt.runtime.policy import VerdictPolicy
from istvt.runtime.session import TrackList, run_session
from istvt.runtime.stages import StageTimers
from tests.fakes import FakeDetector, FakeScorer

DARK, BRIGHT = 40, 220


def picture(*cells, size=(160, 200)):
    """Black, with squares `(column, row, value)` on the detector's grid."""
    image = np.zeros((*size, 3), dtype=np.uint8)
    for column, row, value in cells:
        image[row * 40 : row * 40 + 40, column * 40 : column * 40 + 40] = value
    return image


def frames_of(images, *, start=0, fps=25.0):
    for index, image in enumerate(images, start=start):
        yield Frame(image=image, index=index, time_s=index / fps, source="made.mp4")


class MadeSource:
    """Frames from memory, which may break at the end."""

    name, is_live, fps, size_wh, frames_dropped = "made.mp4", False, 25.0, (200, 160), 0

    def __init__(self, frames, *, breaks=None):
        self.frames, self.breaks = list(frames), breaks
        self.frames_declared, self.frames_read = len(self.frames), 0

    def __iter__(self):
        for frame in self.frames:
            self.frames_read += 1
            yield frame
        if self.breaks:
            raise self.breaks


def make_pipeline(sampling=Sampling(), **options):
    config = ModelConfig(TINY, CropRecipe(TINY.image_size), sampling)
    scorer = FakeScorer(TINY)
    tracker = FaceTracker(FakeDetector(), detect_every=1)
    pipeline = Pipeline(
        scorer, tracker, config, verdicts=VerdictPolicy(), scores=ScorePolicy(), **options
    )
    return pipeline, scorer


def run(images, *, sampling=Sampling(), **options):
    pipeline, scorer = make_pipeline(sampling)
    tracks = TrackList()
    source = MadeSource(frames_of(images), **options)
    report = run_session(source, pipeline, policy=VerdictPolicy(), sinks=[tracks])
    return report, list(tracks.verdicts), scorer


def windows_of(results):
    return [
        (result.frame.index, track.track_id)
        for result in results
        for track in result.tracks
        if track.window is not None
    ]


def test_two_faces_are_two_tracks_with_two_verdicts():
    report, tracks, _ = run([picture((0, 1, DARK), (3, 1, BRIGHT))] * 20)
    assert sorted(track.kind for track in tracks) == [VerdictKind.FAKE, VerdictKind.REAL]
    assert report.tracks == 2
    assert report.verdict.kind is VerdictKind.FAKE


def test_no_face_is_no_face():
    report, tracks, scorer = run([picture()] * 20)
    assert report.verdict.kind is VerdictKind.NO_FACE
    assert tracks == []
    assert scorer.encoded_batches == []


def test_each_new_frame_costs_one_encode_and_one_window_a_face():
    _, _, scorer = run([picture((0, 1, DARK), (3, 1, BRIGHT))] * 20)
    assert set(scorer.encoded_batches) == {2}
    assert set(scorer.scored_batches) == {2}
    assert len(scorer.scored_batches) == len(scorer.encoded_batches) - (TINY.num_frames - 1)


def test_no_window_spans_a_cut():
    """The same square before and after a hard change of the picture is another track."""
    before = picture((0, 1, DARK))
    after = 255 - picture((0, 1, 255 - DARK), (1, 0, 255), (2, 2, 255), (4, 3, 255))
    after[60:100, 20:60] = 0
    pipeline, _ = make_pipeline()
    results = [pipeline.feed(frame) for frame in frames_of([before] * 10 + [after] * 10)]
    assert [result.frame.index for result in results if result.is_cut] == [10]
    assert results[10].ended
    ids_before = {track.track_id for result in results[:10] for track in result.tracks}
    ids_after = {track.track_id for result in results[10:] for track in result.tracks}
    assert ids_before
    assert not ids_before & ids_after
    indexes = [index for index, _ in windows_of(results)]
    assert not set(indexes) & set(range(10, 10 + TINY.num_frames - 1))


def test_no_window_spans_dropped_frames():
    pipeline, _ = make_pipeline()
    image = picture((0, 1, DARK))
    frames = [*frames_of([image] * 8), *frames_of([image] * 8, start=11)]
    indexes = [index for index, _ in windows_of([pipeline.feed(frame) for frame in frames])]
    assert indexes == [5, 6, 7, 16, 17, 18]


def test_sampling_skips_frames_but_not_tracking():
    pipeline, scorer = make_pipeline(Sampling(frame_step=3))
    results = [pipeline.feed(frame) for frame in frames_of([picture((0, 1, DARK))] * 19)]
    assert all(len(result.tracks) == 1 for result in results)
    assert len(scorer.encoded_batches) == 7
    assert [index for index, _ in windows_of(results)] == [15, 18]


def test_a_short_face_is_inconclusive_with_the_reason():
    report, tracks, _ = run([picture((0, 1, BRIGHT))] * 4)
    assert [track.kind for track in tracks] == [VerdictKind.INCONCLUSIVE]
    assert "0 windows from 4 sampled faces" in tracks[0].reason
    assert report.verdict.kind is VerdictKind.INCONCLUSIVE


def test_a_broken_source_is_partial_with_its_tracks():
    error = BrokenSourceError("read 20 of 50 frames", frames_read=20, frames_declared=50)
    report, tracks, _ = run([picture((0, 1, BRIGHT))] * 20, breaks=error)
    assert report.partial == "read 20 of 50 frames"
    assert report.verdict.kind is VerdictKind.INCONCLUSIVE
    assert tracks[0].kind is VerdictKind.FAKE


def test_ctrl_c_ends_in_a_report():
    report, tracks, _ = run([picture((0, 1, BRIGHT))] * 20, breaks=KeyboardInterrupt())
    assert report.was_interrupted
    assert tracks[0].kind is VerdictKind.FAKE


def test_max_frames_and_a_sinks_wish_end_the_session():
    class StopAtThree(TrackList):
        def take(self, result):
            return result.frame.index < 3

    for options, expected in (({"max_frames": 7}, 7), ({"sinks": [StopAtThree()]}, 4)):
        pipeline, _ = make_pipeline()
        source = MadeSource(frames_of([picture((0, 1, DARK))] * 20))
        report = run_session(source, pipeline, policy=VerdictPolicy(), **options)
        assert report.frames_read == expected
        assert report.partial == f"stopped after {expected} of 20 frames"
        assert report.verdict.kind is VerdictKind.INCONCLUSIVE


def test_a_live_source_that_is_stopped_is_not_partial():
    pipeline, _ = make_pipeline()
    source = MadeSource(frames_of([picture((0, 1, DARK))] * 20))
    source.is_live, source.frames_declared = True, None
    report = run_session(source, pipeline, policy=VerdictPolicy(), max_frames=12)
    assert report.partial is None
    assert report.verdict.kind is VerdictKind.REAL


def test_a_machine_that_keeps_up_with_every_other_frame_is_told_why_there_is_no_window(caplog):
    pipeline, _ = make_pipeline()
    image = picture((0, 1, DARK))
    for index in range(0, 200, 2):
        pipeline.feed(Frame(image=image, index=index, time_s=index / 25, source="camera 0"))
    (verdict,) = pipeline.finish()
    assert "99 of 100 sampled faces came too long after the one before" in verdict.reason
    assert "--sample-fps" in verdict.reason
    assert len(caplog.records) == 1


def test_a_crowd_goes_through_in_batches():
    cells = [(column, row, DARK) for column in range(5) for row in range(4)]
    pipeline, scorer = make_pipeline()
    for frame in frames_of([picture(*cells)] * 7):
        pipeline.feed(frame)
    assert max(scorer.encoded_batches) == max(scorer.scored_batches) == MAX_FACES_A_BATCH
    assert sum(scorer.encoded_batches) == 7 * len(cells)


def test_a_score_that_is_no_number_counts_for_nothing_and_is_told():
    pipeline, scorer = make_pipeline()
    honest = scorer.score
    calls = iter(range(100))
    scorer.score = lambda windows: honest(windows) * (np.nan if next(calls) == 4 else 1)
    for frame in frames_of([picture((0, 1, DARK))] * 20):
        result = pipeline.feed(frame)
    assert result.tracks[0].probability < 0.1
    (verdict,) = pipeline.finish()
    assert verdict.kind is VerdictKind.REAL
    assert "1 windows gave no number" in verdict.reason


def test_the_clock_runs_while_no_face_is_seen():
    """Training samples every frame of a file, so streaming must too."""
    pipeline, scorer = make_pipeline(Sampling(frame_step=None, sample_fps=10.0))
    images = [picture()] * 10 + [picture((0, 1, DARK))] * 20
    taken = [
        frame.index
        for frame in frames_of(images, fps=30.0)
        if (before := len(scorer.encoded_batches)) is not None
        and pipeline.feed(frame)
        and len(scorer.encoded_batches) > before
    ]
    assert taken == [12, 15, 18, 21, 24, 27]


def test_sinks_are_closed_whatever_ends_the_session():
    class Breaks(TrackList):
        closed = False

        def take(self, result):
            raise OSError("disk full")

        def close(self):
            self.closed = True

    pipeline, _ = make_pipeline()
    sink = Breaks()
    source = MadeSource(frames_of([picture()] * 3))
    with pytest.raises(OSError, match="disk full"):
        run_session(source, pipeline, policy=VerdictPolicy(), sinks=[sink])
    assert sink.closed


def test_every_stage_is_timed():
    pipeline, _ = make_pipeline()
    source = MadeSource(frames_of([picture((0, 1, DARK))] * 10))
    run_session(source, pipeline, policy=VerdictPolicy())
    stages = {row.stage: row.calls for row in pipeline.timers.summary()}
    assert stages == {"read": 11, "cut": 10, "faces": 10, "crop": 10, "encode": 10, "score": 5}


@pytest.mark.parametrize(("times_encoder", "waits"), [(True, 10), (False, 0)])
def test_the_encoder_is_waited_for_in_its_own_stage_and_only_to_time_it(times_encoder, waits):
    class Timers(StageTimers):
        running = None

        @contextmanager
        def time(self, stage):
            self.running = stage
            with super().time(stage):
                yield
            self.running = None

    timers = Timers()
    pipeline, scorer = make_pipeline(timers=timers, times_encoder=times_encoder)
    waited_in = []
    scorer.synchronize = lambda: waited_in.append((timers.running, len(scorer.encoded_batches)))
    for frame in frames_of([picture((0, 1, DARK))] * 10):
        pipeline.feed(frame)
    assert waited_in == [("encode", number) for number in range(1, waits + 1)]


@pytest.mark.parametrize("gone_for", [3, 40])
def test_ended_tracks_are_forgotten(gone_for):
    pipeline, _ = make_pipeline()
    face, empty = picture((0, 1, DARK)), picture()
    for frame in frames_of([face] * 10 + [empty] * gone_for):
        pipeline.feed(frame)
    assert len(pipeline._tracks) == (1 if gone_for == 3 else 0)
