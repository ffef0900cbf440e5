"""A session over fakes: what a loop and what sinks get, and what the report says afterwards."""

from dataclasses import replace

import pytest

from istvt.errors import BrokenSourceError
from istvt.presets import TINY
from istvt.records import VerdictKind
from istvt.runtime.hub import Hub
from istvt.runtime.policy import VerdictPolicy
from istvt.runtime.session import LIVE_TRACKS_KEPT, Session, Sink
from tests.fakes import FakeScorer
from tests.runtime.sources import BRIGHT, MadeSource, frames_of, picture, pipeline_of


def source_of(count, **options):
    return MadeSource(frames_of([picture((0, 1, BRIGHT))] * count), **options)


def session_of(source, **options):
    hub = Hub(FakeScorer(TINY))
    return Session(source, pipeline_of(), hub=hub, policy=VerdictPolicy(), **options)


def one_track_a_frame(count):
    """A source whose every frame starts anew."""
    source = source_of(count)
    source.frames = [replace(frame, starts_anew=True) for frame in source.frames]
    return source


def test_a_loop_gets_a_result_a_frame_and_then_a_report():
    session = session_of(source_of(20))
    assert [result.frame.index for result in session] == list(range(20))
    report = session.report()
    assert report.partial is None
    assert report.verdict.kind is VerdictKind.FAKE
    assert [verdict.windows for verdict in report.tracks] == [15]
    assert report.last_tracks == report.tracks


def test_a_loop_and_sinks_come_to_the_same_report():
    looped = session_of(source_of(20))
    list(looped)
    assert looped.report() == session_of(source_of(20)).run()


def test_a_loop_that_was_left_can_be_continued_until_the_report():
    session = session_of(source_of(20))
    for result in session:
        if result.frame.index == 7:
            break
    assert next(iter(session)).frame.index == 8
    report = session.report()
    assert report.partial == "stopped after 9 of 20 frames"
    assert list(session) == []
    assert session.report() is report


def test_a_loop_ends_where_the_source_breaks():
    error = BrokenSourceError("read 20 of 50 frames", frames_read=20, frames_declared=50)
    session = session_of(source_of(20, breaks=error))
    assert len(list(session)) == 20
    assert session.report().partial == "read 20 of 50 frames"


def test_a_loop_does_not_swallow_ctrl_c():
    session = session_of(source_of(20, breaks=KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        list(session)
    assert session.report().tracks[0].kind is VerdictKind.FAKE


@pytest.mark.parametrize(
    ("is_live", "keep_tracks", "kept"),
    [(False, None, 70), (False, 3, 3), (True, None, LIVE_TRACKS_KEPT), (True, 60, 60)],
)
def test_the_latest_tracks_are_kept_and_all_are_counted(is_live, keep_tracks, kept):
    source = one_track_a_frame(70)
    source.is_live = is_live
    report = session_of(source, keep_tracks=keep_tracks).run()
    assert [verdict.track_id for verdict in report.tracks] == list(range(70 - kept, 70))
    assert report.tracks_seen == 70
    assert report.last_tracks == report.tracks[-1:]


def test_sinks_are_closed_whatever_ends_the_session():
    class Breaks(Sink):
        closed = False

        def take(self, result):
            raise OSError("disk full")

        def close(self):
            self.closed = True

    sink = Breaks()
    source = source_of(3)
    with pytest.raises(OSError, match="disk full"):
        session_of(source).run([sink])
    assert sink.closed
