"""`istvt stream` on real recordings: how many people, how long, and nothing across a cut."""

import json
import sys

import pytest

from istvt.cli import app
from istvt.console import run_app

CUTS = (20, 82, 211)  # first frames of the later shots of stage_four_shots_640x360.mp4


@pytest.fixture
def stream(media, tiny_bundle, tmp_path, monkeypatch):
    """Streams a sample; gives the exit code, the windows, the track verdicts and the summary."""

    def run(name):
        lines = tmp_path / "lines.jsonl"
        args = ["stream", "--source", media / name, "--json", lines, "--model", tiny_bundle.folder]
        monkeypatch.setattr(sys, "argv", ["istvt", *map(str, args)])
        code = int(run_app(app))
        values = [json.loads(line) for line in lines.read_text().splitlines()]
        kinds = {"window": [], "verdict": [], "summary": []}
        for value in values:
            kinds[value["type"]].append(value)
        return code, kinds["window"], kinds["verdict"], kinds["summary"][0]

    return run


@pytest.mark.parametrize(
    ("name", "frames"), [("one_face_480x480.mp4", 216), ("head_turn_b.gif", 62)]
)
def test_one_face_is_one_track_from_start_to_end(stream, name, frames):
    _, windows, verdicts, summary = stream(name)
    assert summary["frames_read"] == frames
    assert len(verdicts) == summary["tracks"] == 1
    assert verdicts[0]["start_s"] == 0
    assert verdicts[0]["end_s"] == summary["end_s"] > 4
    assert len(windows) == pytest.approx(frames - 5, abs=2)


def test_shots_have_their_own_tracks_and_windows(stream):
    _, windows, verdicts, _ = stream("stage_four_shots_640x360.mp4")
    third = {window["track"] for window in windows if 82 <= window["frame"] < 211}
    last = {window["track"] for window in windows if window["frame"] >= 211}
    assert len(third) == 1
    assert len(last) >= 3
    assert not third & last
    third_frames = [window["frame"] for window in windows if window["track"] in third]
    assert min(third_frames) == 82 + 5
    assert max(third_frames) == 210
    for cut in CUTS:
        assert not [window for window in windows if cut <= window["frame"] < cut + 5]
        assert not [
            verdict
            for verdict in verdicts
            if verdict["start_s"] < (cut - 0.5) / 29.97 < verdict["end_s"]
        ]


def test_two_heads_are_two_tracks(stream):
    _, _, verdicts, summary = stream("head_turn_two_people.gif")
    assert summary["tracks"] == 2
    assert all(verdict["windows"] > 20 for verdict in verdicts)


def test_a_picture_has_faces_but_no_verdict(stream):
    code, windows, verdicts, summary = stream("two_people.jpg")
    assert code == 6
    assert summary["tracks"] == len(verdicts) == 2
    assert windows == []
    assert summary["verdict"] == "inconclusive"


@pytest.mark.slow
def test_bottles_are_no_face(stream):
    code, windows, verdicts, summary = stream("no_face.mp4")
    assert code == 6
    assert summary["verdict"] == "no-face"
    assert windows == verdicts == []
    assert summary["frames_read"] == 1189
