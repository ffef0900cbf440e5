import csv
import io
import json

import pytest

from istvt.errors import ExitCode, SourceNotFoundError, UnreadableSourceError
from istvt.records import Score, Verdict, VerdictKind
from istvt.runtime.recordings import find_sources, score_sources
from istvt.runtime.session import SessionReport
from istvt.runtime.sinks.report import exit_code, format_reports, to_csv, to_dicts


def scored(kind=VerdictKind.FAKE, **values):
    score = Score(1.5, 0.82, False) if kind in (VerdictKind.FAKE, VerdictKind.REAL) else None
    whole = Verdict(kind, score, None, 0.0, 4.0, "track 1: mean of 9 windows", 9)
    track = Verdict(kind, score, 1, 0.0, 4.0, "mean of 9 windows", 9)
    defaults = {
        "source": "a.mp4", "verdict": whole, "last_tracks": (track,),
        "tracks": (track,), "tracks_seen": 1,
        "frames_read": 100, "frames_declared": 100, "frames_dropped": 0,
        "is_live": False, "partial": None,
        "was_interrupted": False,
    }  # fmt: skip
    return SessionReport(**{**defaults, **values})


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ([VerdictKind.FAKE], ExitCode.DONE),
        ([VerdictKind.REAL, VerdictKind.FAKE], ExitCode.DONE),
        ([VerdictKind.REAL, VerdictKind.NO_FACE], ExitCode.INCOMPLETE),
        ([VerdictKind.INCONCLUSIVE], ExitCode.INCOMPLETE),
    ],
)
def test_only_judged_sources_are_done(kinds, expected):
    assert exit_code([scored(kind) for kind in kinds]) is expected


def test_a_camera_that_went_away_and_files_that_cannot_be_read_are_source_errors():
    gone = scored(VerdictKind.INCONCLUSIVE, is_live=True, partial="unplugged")
    unreadable = scored(VerdictKind.INCONCLUSIVE, partial="no video", frames_read=0)
    assert exit_code([gone]) is ExitCode.SOURCE
    assert exit_code([unreadable, unreadable]) is ExitCode.SOURCE
    assert exit_code([unreadable, scored()]) is ExitCode.INCOMPLETE


def test_an_interrupted_run_is_told_from_a_finished_one():
    assert exit_code([scored(was_interrupted=True)]) is ExitCode.INTERRUPTED


def test_one_source_shows_its_tracks():
    text = format_reports([scored()])
    assert "a.mp4: fake (82% fake)" in text
    assert "100 of 100 frames read" in text
    assert "track 1" in text


def test_many_sources_are_a_line_each():
    text = format_reports([scored(), scored(VerdictKind.NO_FACE, source="b.mp4", partial="cut")])
    head, first, second = text.splitlines()
    assert head.split()[:2] == ["source", "verdict"]
    assert first.split()[:3] == ["a.mp4", "fake", "82%"]
    assert second.split()[:3] == ["b.mp4", "no-face", "-"]
    assert second.endswith("(partial)")


def test_json_and_csv_hold_the_same():
    (values,) = json.loads(json.dumps(to_dicts([scored()])))
    (row,) = csv.DictReader(io.StringIO(to_csv([scored()])))
    for field in ("source", "verdict", "fake_probability", "windows", "frames_read"):
        assert row[field] == str(values[field])
    assert values["verdicts"][0]["track"] == 1


def test_folders_become_their_videos_in_order(tmp_path):
    for name in ("b.mp4", "a.MOV", "notes.txt", "deep/c.gif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in find_sources([tmp_path])]
    assert found == ["a.MOV", "b.mp4", "deep/c.gif"]
    images = tmp_path / "images"
    images.mkdir()
    assert find_sources([images]) == [images]
    with pytest.raises(SourceNotFoundError, match="no such file"):
        find_sources([tmp_path / "lost.mp4"])


def test_one_unreadable_file_does_not_stop_the_rest(tmp_path):
    bad = [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    for path in bad:
        path.write_text("no video")
    reports = score_sources(bad, lambda source: None)
    assert [report.verdict.kind for report in reports] == [VerdictKind.INCONCLUSIVE] * 2
    assert "unreadable" in reports[0].verdict.reason
    assert exit_code(reports) is ExitCode.SOURCE
    with pytest.raises(UnreadableSourceError):
        score_sources(bad[:1], lambda source: None)
