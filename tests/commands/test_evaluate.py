"""`istvt evaluate` from its options to what is measured, and from that to what is written."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from istvt.bundle import locate
from istvt.commands import evaluate as command
from istvt.data.dataset import DataRequest
from istvt.data.known import digest_faces
from istvt.data.layouts.choose import LayoutOptions
from istvt.data.layouts.manifest import Skipped
from istvt.data.synthetic.blend import PLAIN_BLEND, SUBTLE_BLEND
from istvt.errors import ExitCode, UsageError, WeightsError
from istvt.evaluation import evaluate as evaluating
from istvt.evaluation.evaluate import EvaluatedData
from istvt.evaluation.scores import Scoring
from tests.evaluation.evaluations import ROOT, evaluation, fake, real

FOUND = evaluation(
    [real(0), real(1), fake(0, method="swap"), fake(1, method="mask")],
    [[0.1, 0.3], [0.6], [0.9, 0.7], [0.5]],
)
SHARD = Path(__file__)  # any file
MEASURED = EvaluatedData(
    *(ROOT, "folder", (), (), (), "0123"),
    videos=(
        SimpleNamespace(video=real(0, "ann"), shard=SHARD, num_bytes=SHARD.stat().st_size),
        SimpleNamespace(video=fake(1), shard=Path("gone"), num_bytes=1),
    ),
)
SKIPPED = (Skipped(ROOT / "real" / "dark.mp4", "no face in 9 frames"),)


@pytest.fixture
def run(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def asked(monkeypatch, run):
    """Serve an evaluation, and note what is asked for; its `skipped` can be set."""
    noted = SimpleNamespace(skipped=(), calls=[])

    def measure(request, model, config, **options):
        noted.calls.append((request, {k: v for k, v in options.items() if k != "progress"}))
        return replace(FOUND, skipped=noted.skipped), MEASURED

    monkeypatch.setattr(evaluating, "evaluate", measure)
    monkeypatch.setattr("istvt.models.load.load_run", lambda folder: (object(), object()))
    found = SimpleNamespace(folder=run, reason="test")
    monkeypatch.setattr(locate, "find_run", lambda _: found)
    return noted


def call(*arguments):
    app = typer.Typer()
    app.command()(command.evaluate)
    return CliRunner().invoke(app, ["--data", "set", *arguments], standalone_mode=False)


def test_without_options_it_is_the_whole_test_split_in_fp32(asked):
    result = call()
    assert result.return_value == ExitCode.DONE
    assert asked.calls == [
        (
            DataRequest(Path("set"), LayoutOptions(), cache=None, max_frames=None),
            {
                "split": "test",
                "scoring": Scoring(
                    windows_per_video=None,
                    fakes="real",
                    blend=SUBTLE_BLEND,
                    batch_size=16,
                    precision="fp32",
                    workers=0,
                ),
                "device": None,
            },
        )
    ]
    assert "95 % intervals: 1000 resamples of 4 videos" in result.stdout
    assert "each method against all 2 real videos" in result.stdout


def test_options_are_taken(asked):
    words = "--split val --fakes self-blended --blend plain --windows-per-video 3 --batch-size 4"
    words += (
        " --workers 1 --precision bf16 --layout ffpp --compression c40 --method swap --method mask"
    )
    words += " --cache crops --device cpu --shared-identities keep"
    call(*words.split())
    layout = LayoutOptions("ffpp", "c40", ("swap", "mask"), shared_identities="keep")
    assert asked.calls == [
        (
            DataRequest(Path("set"), layout, cache=Path("crops")),
            {
                "split": "val",
                "scoring": Scoring(
                    windows_per_video=3,
                    fakes="self-blended",
                    blend=PLAIN_BLEND,
                    batch_size=4,
                    precision="bf16",
                    workers=1,
                ),
                "device": "cpu",
            },
        )
    ]


def test_skipped_videos_are_told_and_end_in_their_own_code(asked):
    asked.skipped = SKIPPED
    result = call("--resamples", "0")
    assert result.return_value == ExitCode.INCOMPLETE
    assert f"skipped {SKIPPED[0].path}: no face in 9 frames" in result.stdout
    assert "[" not in result.stdout


def test_a_pipe_gets_json_and_nothing_else(asked):
    asked.skipped = SKIPPED
    result = call("--json", "-", "--resamples", "10")
    found = json.loads(result.stdout)
    assert found["whole"]["windows"]["metrics"]["auc"] == FOUND.windows.auc
    assert found["skipped"][0]["path"] == "real/dark.mp4"
    assert "each method" in result.stderr


@pytest.fixture
def known(run, tmp_path):
    """A run that was trained on the first real video, and on someone named ann."""
    row = {"path": "a", "label": 0, "method": "", "frames": 9, "windows": 9}
    faces = {"content": "", "faces": digest_faces(MEASURED.videos[0])}
    run.mkdir()
    rows = [
        {**row, **faces, "split": "train", "identities": ["ann"]},
        {**row, "content": "9-0", "faces": "9-1", "split": "val", "identities": []},
    ]
    (run / "videos.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_videos_and_people_that_a_run_was_made_with_are_named(asked, known, run):
    told = call("--resamples", "0").stdout
    assert f"WARNING: of these 2 videos, {run} has 1 in its train split, on which its" in told
    assert f"WARNING: names of people that are both here and in the data of {run}: 1;" in told
    result = call("--json", "-", "--resamples", "0")
    found = json.loads(result.stdout)["known_to_the_run"]
    assert found == {"videos": {"real/0.mp4": "train"}, "people": ["ann"], "num_unseen": 3}
    assert "WARNING" in result.stderr


def test_a_damaged_list_of_videos_is_refused_before_the_work(asked, known, run):
    (run / "videos.jsonl").write_text("{}\n")
    assert isinstance(call().exception, WeightsError)
    assert asked.calls == []


def test_a_run_that_lists_no_videos_is_told_of(asked, run):
    assert f"{run} does not list the videos" in call("--resamples", "0").stdout


def test_what_was_measured_on_is_told(asked):
    result = call("--json", "-", "--resamples", "0")
    assert "data: set, read as folder, faces 0123" in result.stderr
    assert json.loads(result.stdout)["data"]["faces"] == "0123"


def test_files_are_written(asked, tmp_path):
    result = call("--json", str(tmp_path / "all.json"), "--scores", str(tmp_path / "scores.csv"))
    assert "each method" in result.stdout
    assert len(json.loads((tmp_path / "all.json").read_text())["videos"]) == 4
    rows = list(csv.DictReader((tmp_path / "scores.csv").open()))
    assert [row["path"] for row in rows][2] == "fake/swap0.mp4"


def test_a_place_that_cannot_be_written_is_refused_before_the_work(asked, tmp_path):
    result = call("--json", str(tmp_path))
    assert isinstance(result.exception, UsageError)
    assert asked.calls == []
