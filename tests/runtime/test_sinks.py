import io
import json
from dataclasses import replace
from itertools import pairwise

import av
import numpy as np
import pytest

from istvt.errors import RuntimeEnvironmentError
from istvt.records import Frame, Score, Verdict, VerdictKind
from istvt.runtime.pipeline import FrameResult, TrackView
from istvt.runtime.session import SessionReport
from istvt.runtime.sinks.json_lines import JsonLines
from istvt.runtime.sinks.overlay import COLOURS, draw, label_of
from istvt.runtime.sinks.pictures import Display, Pictures
from istvt.runtime.sinks.terminal import StatusLine
from istvt.runtime.stages import StageTimers
from tests.fakes import face_at

SCORE = Score(logit=2.0, fake_probability=0.88, calibrated=False)


def view(box=(100, 100, 200, 220), **values):
    defaults = {
        "track_id": 3, "kind": VerdictKind.FAKE, "probability": 0.9, "window": SCORE,
        "filled": 6, "needed": 6,
    }  # fmt: skip
    return TrackView(face=face_at(box), **{**defaults, **values})


def result(*tracks, index=0, ended=(), size=(360, 640)):
    image = np.full((*size, 3), 90, dtype=np.uint8)
    frame = Frame(image=image, index=index, time_s=index / 25, source="clip.mp4")
    return FrameResult(frame=frame, tracks=tracks, ended=ended, is_cut=False)


def report(**values):
    verdict = Verdict(VerdictKind.FAKE, SCORE, None, 0.0, 1.0, "track 3", 12)
    defaults = {
        "source": "clip.mp4", "verdict": verdict, "last_tracks": (verdict,),
        "tracks": (verdict,), "tracks_seen": 1,
        "frames_read": 25, "frames_declared": 25, "frames_dropped": 0,
        "is_live": False, "partial": None,
        "was_interrupted": False,
    }  # fmt: skip
    return SessionReport(**{**defaults, **values})


def lines_of(*results):
    text = io.StringIO()
    sink = JsonLines(text)
    for one in results:
        assert sink.take(one)
    sink.finish(report())
    return [json.loads(line) for line in text.getvalue().splitlines()]


def test_a_scored_window_is_a_line():
    first, *_ = lines_of(result(view()))
    assert first["type"] == "window"
    assert (first["track"], first["frame"], first["source"]) == (3, 0, "clip.mp4")
    assert (first["logit"], first["fake_probability"]) == (2.0, 0.88)
    assert first["running_verdict"] == "fake"
    assert first["box_xyxy"] == [100, 100, 200, 220]


def test_a_live_window_says_when_it_was_captured():
    recorded = result(view())
    live = replace(recorded, frame=replace(recorded.frame, captured_at=1_770_000_000.12345))
    before, line, *_ = lines_of(recorded, live)
    assert "captured_at" not in before
    assert line == {**before, "captured_at": 1_770_000_000.123}


def test_frames_without_a_window_are_no_lines():
    kinds = [line["type"] for line in lines_of(result(), result(view(window=None)))]
    assert kinds == ["verdict", "summary"]


def test_ended_tracks_and_the_summary_are_lines():
    ended = Verdict(VerdictKind.REAL, None, 9, 0.0, 0.5, "too short")
    first, second, summary = lines_of(result(ended=(ended,)))
    assert (first["type"], first["track"], first["verdict"]) == ("verdict", 9, "real")
    assert first["logit"] is None
    assert second["type"] == "verdict"
    assert summary["type"] == "summary"
    assert summary["schema_version"] == 1
    assert summary["frames_read"] == 25


def test_labels_say_what_is_known():
    assert label_of(view()) == "#3 fake 90% fake"
    assert label_of(view(probability=None, filled=2)) == "#3 waiting 2/6"


def test_the_overlay_leaves_the_frame_alone_and_colours_the_box():
    one = result(view(kind=VerdictKind.REAL))
    before = one.frame.image.copy()
    picture = draw(one, footer="a footer")
    np.testing.assert_array_equal(one.frame.image, before)
    assert picture.shape == before.shape
    assert (picture[160, 100] == COLOURS[VerdictKind.REAL]).all()
    assert (picture[300, 400] == before[300, 400]).all()
    assert picture[-5:].mean() < before[-5:].mean()


@pytest.mark.parametrize("box", [(-20, -30, 60, 50), (600, 320, 700, 400), (0, 0, 640, 360)])
@pytest.mark.parametrize("size", [(360, 640), (48, 64), (2160, 3840)])
def test_faces_at_the_edge_and_all_sizes_can_be_drawn(box, size):
    picture = draw(result(view(box), size=size), footer="x" * 500)
    assert picture.shape == (*size, 3)


def test_the_bar_grows_with_the_probability():
    def filled(probability):
        column = draw(result(view(probability=probability)))[100:221, 208]
        return int((column == COLOURS[VerdictKind.FAKE]).all(axis=1).sum())

    heights = [filled(probability) for probability in (0.1, 0.5, 0.9)]
    assert all(low < high for low, high in pairwise(heights))


def test_labels_of_neighbours_do_not_cover_each_other():
    one, other = (200, 105, 260, 200), (230, 105, 290, 200)
    kind = VerdictKind.INCONCLUSIVE
    near = [view(one, kind=kind), view(other, kind=kind)]
    label_rows = (draw(result(*near)) == COLOURS[kind]).all(axis=2).any(axis=1)
    assert label_rows[80:100].any()
    assert label_rows[205:225].any(), "the second label moves below its box"


def test_pictures_become_a_video_with_the_sources_times(tmp_path):
    path = tmp_path / "out.mp4"
    sink = Pictures(display=None, save=path, fps=25.0, footer="x", timers=StageTimers())
    for index in (10, 11, 13):
        assert sink.take(result(view(), index=index))
    sink.take(result(view(), index=14, size=(720, 1280)))  # a stream may change its size
    sink.close()
    with av.open(path) as container:
        times = [float(frame.time) for frame in container.decode(video=0)]
    assert times == pytest.approx([0.0, 0.04, 0.12, 0.16], abs=1e-3)


def test_a_reader_that_goes_away_ends_the_stream_quietly():
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    sink = JsonLines(Gone())
    assert sink.take(result())
    assert not sink.take(result(view()))
    sink.finish(report())


def test_the_status_line_is_one_line_on_a_terminal_and_a_line_a_track_elsewhere():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    ended = Verdict(VerdictKind.REAL, None, 9, 0.0, 0.5, "too short")
    ticks = iter(np.arange(100) * 0.3)
    for stream in (Terminal(), io.StringIO()):
        sink = StatusLine(stream, clock=lambda: next(ticks))
        for index in range(5):
            sink.take(result(view(), index=index, ended=(ended,) if index == 3 else ()))
        sink.close()
        text = stream.getvalue()
        if stream.isatty():
            assert "\n" not in text
            assert "#3 fake 90% fake" in text
        else:
            assert text == "track 9 ended: real, too short\n"


def test_a_window_without_a_display_is_an_error_before_anything_opens(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(RuntimeEnvironmentError, match=r"needs a display.*--save out.mp4"):
        Display("title")
