import csv
import io
import json
from pathlib import Path

import pytest

from istvt.data.layouts.manifest import Skipped
from istvt.evaluation.evaluate import EvaluatedData
from istvt.evaluation.overlap import Overlap
from istvt.evaluation.report import (
    CSV_FIELDS,
    ROWS,
    Report,
    format_data,
    format_summary,
    to_csv,
    to_dict,
)
from istvt.evaluation.summary import summarise
from tests.evaluation.evaluations import ROOT, evaluation, fake, real

FOUND = evaluation(
    [real(0, "ann"), real(1), fake(0, "ann", "bob", method="swap", source=0), fake(1)],
    [[0.1, 0.3], [0.6], [0.9, 0.7], [0.5]],
    skipped=(Skipped(ROOT / "real" / "dark.mp4", "no face in 9 frames"),),
)
DATA = EvaluatedData(ROOT, "ffpp", ("c40",), ("mask", "swap"), ("a note",), "f" * 64, ())


@pytest.fixture(scope="module")
def summary():
    return summarise(FOUND, resamples=25)


def test_the_table_by_eye(summary):
    """Four videos, six windows; the numbers are worked out by hand."""
    lines = format_summary(FOUND, summary).splitlines()
    assert lines[0] == "test: 2 real and 2 fake videos, 6 windows, loss 0.2500"
    few = "25 resamples of 4 videos, too few: the true ones are wider"
    assert lines[1] == f"95 % intervals: {few}"
    assert lines[3].split() == ["windows", "videos"]
    values = {line[:18].strip(): line[18:].split("[")[0].strip() for line in lines[4:11]}
    assert values == {
        "AUC": "0.8889",
        "AP": "0.9167",
        "EER": "0.3333",
        "accuracy at 0.5": "0.6667",
        "TPR at 1 % FPR": "0.6667",
        "ECE, 15 bins": "0.3167",
        "Brier": "0.1350",
    }
    assert all(line.count("[") == line.count("]") == 2 for line in lines[4:11])
    assert lines[12] == "each method against all 2 real videos"
    assert lines[14].split()[:4] == ["(no", "method", "named)", "1"]
    assert lines[15].split()[:3] == ["swap", "1", "1.0000"]
    assert max(map(len, lines)) <= 110


def test_enough_groups_are_not_called_few():
    found = evaluation([real(i) for i in range(9)] + [fake(0)], [[0.1]] * 9 + [[0.9]])
    lines = format_summary(found, summarise(found, resamples=5)).splitlines()
    assert lines[1] == "95 % intervals: 5 resamples of 10 videos"


@pytest.mark.parametrize("names", [("ann", "bob"), ()])
def test_people_too_few_to_be_drawn_are_told(names):
    videos = [real(i, *names[:1]) for i in range(9)] + [fake(0, *names[1:])]
    found = evaluation(videos, [[0.1]] * 9 + [[0.9]])
    lines = format_summary(found, summarise(found, resamples=5)).splitlines()
    assert lines[1] == "95 % intervals: 5 resamples of 10 videos"
    told = "people are named, but form only 2 groups who share videos, too few to draw (of 10): "
    told += "videos of one person are alike, and the true intervals wider"
    assert lines[2] == (told if names else "")


def test_columns_stand_below_their_titles(summary):
    lines = format_summary(FOUND, summary).splitlines()
    at = lines[3].index("videos")
    assert all(line[at - 1] == " " and line[at] in "01" for line in lines[4:11])
    assert {lines[13].index("AUC of v"), lines[13].index("TPR")} <= {
        i for i in range(1, len(lines[15])) if lines[15][i - 1] == " " and lines[15][i] in "01"
    }


def test_without_intervals_there_are_none():
    text = format_summary(FOUND, summarise(FOUND, resamples=0))
    assert "[" not in text
    assert "interval" not in text


def test_json_holds_everything(summary):
    overlap = Overlap({"real/0.mp4": "train"}, ("ann",), 2)
    found = json.loads(json.dumps(to_dict(Report(Path("run"), FOUND, summary, DATA, overlap))))
    assert found["data"] == {
        "root": str(ROOT),
        "layout": "ffpp",
        "compressions": ["c40"],
        "methods": ["mask", "swap"],
        "notes": ["a note"],
        "faces": "f" * 64,
    }
    assert found["known_to_the_run"] == {
        "videos": {"real/0.mp4": "train"},
        "people": ["ann"],
        "num_unseen": 2,
    }
    unknown = to_dict(Report(Path("run"), FOUND, summary, DATA, None))
    assert unknown["known_to_the_run"] is None
    assert found["intervals"] == {"level": 0.95, "resamples": 25, "unit": "videos", "groups": 4}
    assert set(ROWS) == set(found["whole"]["windows"]["intervals"])
    assert set(ROWS) | {"count"} == set(found["whole"]["windows"]["metrics"])
    assert found["whole"]["videos"]["metrics"]["auc"] == FOUND.videos.auc
    assert [part["method"] for part in found["methods"]] == ["", "swap"]
    assert found["skipped"] == [{"path": "real/dark.mp4", "reason": "no face in 9 frames"}]
    assert found["videos"][2] == {
        "path": "fake/swap0.mp4",
        "label": 1,
        "method": "swap",
        "identities": ["ann", "bob"],
        "source": "real/0.mp4",
        "windows": 2,
        "fake_probability": pytest.approx(0.8),
    }


def test_csv_has_a_row_a_video():
    rows = list(csv.DictReader(io.StringIO(to_csv(FOUND, root=ROOT))))
    assert tuple(rows[0]) == CSV_FIELDS
    assert [row["path"] for row in rows] == [
        *("real/0.mp4", "real/1.mp4", "fake/swap0.mp4", "fake/1.mp4")
    ]
    assert rows[2]["identities"] == "ann;bob"
    assert [float(row["fake_probability"]) for row in rows] == pytest.approx([0.2, 0.6, 0.8, 0.5])
    assert [row["label"] for row in rows] == ["0", "0", "1", "1"]


def test_a_video_outside_the_root_keeps_its_path():
    assert to_csv(FOUND, root=Path("elsewhere")).splitlines()[1].startswith("set/real/0.mp4,")


def test_what_was_measured_on_is_told_in_a_line():
    told = format_data(DATA)
    assert told == f"data: set, read as ffpp, compression c40, methods mask, swap, faces {'f' * 12}"
    plain = EvaluatedData(ROOT, "folder", (), (), (), "f" * 64, ())
    assert format_data(plain) == f"data: set, read as folder, faces {'f' * 12}"
