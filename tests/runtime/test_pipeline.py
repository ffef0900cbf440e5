"""The pipeline over fakes: squares on black are faces, and bright ones are fake."""

import tracemalloc
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from istvt.errors import BrokenSourceError
from istvt.faces.align import cut_face
from istvt.presets import TINY, CropRecipe, Sampling
from istvt.records import VerdictKind
from istvt.runtime.hub import MAX_FACES_A_BATCH, Hub
from istvt.runtime.policy import VerdictPolicy
from istvt.runtime.session import Session, Sink
from istvt.runtime.stages import StageTimers
from tests.fakes import FakeScorer
from tests.runtime.sources import BRIGHT, DARK, MadeSource, frames_of, picture, pipeline_of


def make_pipeline(sampling=Sampling(), **options):
    return pipeline_of(sampling, **options), FakeScorer(TINY)


def feed(pipeline, scorer, frames, **options):
    """What a hub of its own makes of the frames."""
    hub = Hub(scorer, timers=pipeline.timers, **options)
    return [result for frame in frames for result in hub.step([(pipeline, frame)])]


def session_of(source, pipeline, scorer, **options):
    hub = Hub(scorer, timers=pipeline.timers)
    return Session(source, pipeline, hub=hub, policy=VerdictPolicy(), **options)


def run(images, *, sampling=Sampling(), **options):
    source = MadeSource(frames_of(images), **options)
    pipeline, scorer = make_pipeline(sampling)
    report = session_of(source, pipeline, scorer).run()
    return report, list(report.tracks), scorer


def other_shot():
    """What is a cut after a dark square, which it has too."""
    image = 255 - picture((0, 1, 255 - DARK), (1, 0, 255), (2, 2, 255), (4, 3, 255))
    image[60:100, 20:60] = 0
    return image


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
    assert report.tracks_seen == 2
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
    pipeline, scorer = make_pipeline()
    before = picture((0, 1, DARK))
    results = feed(pipeline, scorer, frames_of([before] * 10 + [other_shot()] * 10))
    assert [result.frame.index for result in results if result.is_cut] == [10]
    assert results[10].ended
    ids_before = {track.track_id for result in results[:10] for track in result.tracks}
    ids_after = {track.track_id for result in results[10:] for track in result.tracks}
    assert ids_before
    assert not ids_before & ids_after
    indexes = [index for index, _ in windows_of(results)]
    assert not set(indexes) & set(range(10, 10 + TINY.num_frames - 1))


def test_no_window_spans_dropped_frames():
    pipeline, scorer = make_pipeline()
    image = picture((0, 1, DARK))
    frames = [*frames_of([image] * 8), *frames_of([image] * 8, start=11)]
    indexes = [index for index, _ in windows_of(feed(pipeline, scorer, frames))]
    assert indexes == [5, 6, 7, 16, 17, 18]


def test_sampling_skips_frames_but_not_tracking():
    pipeline, scorer = make_pipeline(Sampling(frame_step=3))
    results = feed(pipeline, scorer, frames_of([picture((0, 1, DARK))] * 19))
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
    class StopAtThree(Sink):
        def take(self, result):
            return result.frame.index < 3

    for options, sinks, expected in (({"max_frames": 7}, [], 7), ({}, [StopAtThree()], 4)):
        source = MadeSource(frames_of([picture((0, 1, DARK))] * 20))
        report = session_of(source, *make_pipeline(), **options).run(sinks)
        assert report.frames_read == expected
        assert report.partial == f"stopped after {expected} of 20 frames"
        assert report.verdict.kind is VerdictKind.INCONCLUSIVE


def test_a_live_source_that_is_stopped_is_not_partial():
    source = MadeSource(frames_of([picture((0, 1, DARK))] * 20))
    source.is_live, source.frames_declared = True, None
    report = session_of(source, *make_pipeline(), max_frames=12).run()
    assert report.partial is None
    assert report.verdict.kind is VerdictKind.REAL


def test_a_machine_that_keeps_up_with_every_other_frame_is_told_why_there_is_no_window(caplog):
    pipeline, scorer = make_pipeline()
    frames = list(frames_of([picture((0, 1, DARK))] * 200))[::2]
    feed(pipeline, scorer, frames)
    (verdict,) = pipeline.finish()
    assert "99 of 100 sampled faces came too long after the one before" in verdict.reason
    assert "--sample-fps" in verdict.reason
    assert len(caplog.records) == 1


def test_a_crowd_goes_through_in_batches():
    cells = [(column, row, DARK) for column in range(5) for row in range(4)]
    pipeline, scorer = make_pipeline()
    feed(pipeline, scorer, frames_of([picture(*cells)] * 7))
    assert max(scorer.encoded_batches) == max(scorer.scored_batches) == MAX_FACES_A_BATCH
    assert sum(scorer.encoded_batches) == 7 * len(cells)


def test_a_score_that_is_no_number_counts_for_nothing_and_is_told():
    pipeline, scorer = make_pipeline()
    honest = scorer.score
    calls = iter(range(100))
    scorer.score = lambda windows: honest(windows) * (np.nan if next(calls) == 4 else 1)
    *_, result = feed(pipeline, scorer, frames_of([picture((0, 1, DARK))] * 20))
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
        and feed(pipeline, scorer, [frame])
        and len(scorer.encoded_batches) > before
    ]
    assert taken == [12, 15, 18, 21, 24, 27]


def test_every_stage_is_timed():
    pipeline, scorer = make_pipeline()
    source = MadeSource(frames_of([picture((0, 1, DARK))] * 10))
    session_of(source, pipeline, scorer).run()
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
    pipeline, scorer = make_pipeline(timers=timers)
    waited_in = []
    scorer.synchronize = lambda: waited_in.append((timers.running, len(scorer.encoded_batches)))
    frames = frames_of([picture((0, 1, DARK))] * 10)
    feed(pipeline, scorer, frames, times_encoder=times_encoder)
    assert waited_in == [("encode", number) for number in range(1, waits + 1)]


@pytest.mark.parametrize("gone_for", [3, 40])
def test_ended_tracks_are_forgotten(gone_for):
    pipeline, scorer = make_pipeline()
    face, empty = picture((0, 1, DARK)), picture()
    feed(pipeline, scorer, frames_of([face] * 10 + [empty] * gone_for))
    assert len(pipeline._tracks) == (1 if gone_for == 3 else 0)


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(frame_step=None, sample_fps=12.5)])
def test_a_source_that_starts_anew_continues_nothing(sampling):
    """Its numbers and times restart, and its picture may be another's."""
    pipeline, scorer = make_pipeline(sampling)
    image = picture((0, 1, DARK))
    before = feed(pipeline, scorer, frames_of([image] * 20))
    first, *rest = frames_of([other_shot()] * 20)
    after = feed(pipeline, scorer, [replace(first, starts_anew=True), *rest])
    ids = {track.track_id for result in before for track in result.tracks}
    assert [verdict.track_id for verdict in after[0].ended] == sorted(ids)
    assert not after[0].is_cut, "there is nothing to compare the first picture with"
    assert not ids & {track.track_id for result in after for track in result.tracks}
    indexes = [index for index, _ in windows_of(after)]
    assert indexes, "frames are sampled although their numbers restarted"
    step = sampling.frame_step or 2
    assert indexes[0] >= (TINY.num_frames - 1) * step


def test_a_window_hands_out_its_faces():
    pipeline, scorer = make_pipeline(keeps_crops=True)
    images = [picture((0, 1, 40 + index), (3, 1, 200 + index)) for index in range(9)]
    results = feed(pipeline, scorer, frames_of(images))
    assert all(not track.crops for result in results[:5] for track in result.tracks)
    recipe = CropRecipe(TINY.image_size)
    for result in results[5:]:
        at = result.frame.index
        for track in result.tracks:
            expected = [cut_face(image, track.face, recipe) for image in images[at - 5 : at + 1]]
            np.testing.assert_array_equal(track.crops, expected)
            logit = np.mean(track.crops) / 16 - 8
            assert track.window.logit == pytest.approx(logit, abs=1e-4), "of the same window"


def test_crops_are_not_kept_unasked():
    pipeline, scorer = make_pipeline()
    results = feed(pipeline, scorer, frames_of([picture((0, 1, DARK))] * 9))
    assert windows_of(results)
    assert all(track.crops == () for result in results for track in result.tracks)


@pytest.mark.parametrize(("keeps_crops", "crops"), [(False, 0), (True, 2 * TINY.num_frames)])
def test_memory_is_flat(keeps_crops, crops):
    pipeline, scorer = make_pipeline(keeps_crops=keeps_crops)
    frames = list(frames_of([picture((0, 1, DARK), (3, 1, BRIGHT))] * 260))
    crop_bytes = TINY.image_size**2 * 3
    tracemalloc.start()
    try:
        held = []
        for count in (0, 60, 200):
            for _ in range(count):
                feed(pipeline, scorer, [frames.pop(0)])
            held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert (held[1] - held[0]) / crop_bytes == pytest.approx(crops, abs=3)
    assert (held[2] - held[1]) / crop_bytes < 3
