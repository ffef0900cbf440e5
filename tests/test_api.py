"""What Python users call: it assembles the parts, prints nothing and closes what it opened."""

import shutil
from pathlib import Path

import pytest

import istvt
from istvt import api
from istvt.errors import DataError, SourceNotFoundError, UsageError
from istvt.presets import CropRecipe, Sampling
from istvt.records import VerdictKind

DATA = Path(__file__).parent / "fixtures" / "aca16a8" / "data"
CLIP = DATA / "test" / "fake" / "0000.mp4"
FRAMES = 14


@pytest.fixture(scope="module")
def model(tiny_bundle):
    with istvt.open_model(tiny_bundle.folder, backend="onnxruntime", device="cpu") as opened:
        yield opened


def test_the_package_offers_the_api_and_nothing_else():
    for name in istvt.__all__:
        assert getattr(istvt, name) is getattr(api, name)
    with pytest.raises(AttributeError, match="no attribute 'explode'"):
        istvt.explode()


def test_a_recording_has_a_verdict_and_tracks_and_nothing_is_printed(model, capsys):
    report = model.score(CLIP)
    assert report.source == str(CLIP)
    assert report.frames_read == FRAMES
    assert [track.track_id for track in report.tracks] == [0]
    assert report.tracks[0].windows == report.verdict.windows > 3
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("threshold", "kind"), [(0.02, VerdictKind.FAKE), (0.98, VerdictKind.REAL)]
)
def test_the_threshold_decides(model, threshold, kind):
    report = model.score(CLIP, judging=istvt.Judging(threshold=threshold, band=0.01))
    assert 0.03 < report.verdict.score.fake_probability < 0.97
    assert report.verdict.kind is kind


def test_judging_out_of_range_is_refused(model):
    with pytest.raises(UsageError, match=r"threshold is 1\.5"):
        model.score(CLIP, judging=istvt.Judging(threshold=1.5))


def test_one_file_that_cannot_be_read_costs_no_other_its_report(model, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_text("no video")
    reports = model.score_all([broken, CLIP])
    assert reports[0].partial.startswith("unreadable: ")
    assert reports[1].partial is None
    with pytest.raises(SourceNotFoundError):
        model.score(tmp_path / "lost.mp4")


def test_a_stream_gives_a_result_for_each_frame(model):
    results = list(model.stream(CLIP))
    assert [result.frame.index for result in results] == list(range(FRAMES))
    scored = [result for result in results if result.tracks and result.tracks[0].window]
    assert len(scored) == FRAMES - 5
    assert len(list(model.stream(str(CLIP), max_frames=3))) == 3


def test_leaving_a_stream_closes_its_source(model, monkeypatch):
    closed = []
    open_source = api.open_source

    def watched(source):
        opened = open_source(source)
        close = opened.close
        monkeypatch.setattr(opened, "close", lambda: (closed.append(True), close()))
        return opened

    monkeypatch.setattr(api, "open_source", watched)
    stream = model.stream(CLIP)
    next(stream)
    assert not closed
    stream.close()
    assert closed


def test_a_data_set_is_listed_and_then_prepared(tmp_path):
    from istvt.data.prepared.face_recipe import FaceRecipe

    data = shutil.copytree(DATA, tmp_path / "data")
    recipe = FaceRecipe(CropRecipe(40), Sampling(), num_frames=4, max_frames=8)
    manifest = istvt.list_videos(data)
    prepared = istvt.prepare(manifest, tmp_path / "faces", recipe, workers=1)
    assert len(prepared.videos) == len(manifest.videos) == 12
    again = istvt.prepare(data, tmp_path / "faces", recipe, workers=1)
    assert again.digest == prepared.digest
    shutil.copy(data / "train" / "real" / "0000.mp4", data / "val" / "real" / "copy.mp4")
    with pytest.raises(DataError, match="more than one split"):
        istvt.list_videos(data)
