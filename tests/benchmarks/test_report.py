"""A report on its way to the terminal, to a file and to a picture."""

import json
from dataclasses import fields, replace
from pathlib import Path

import cv2
import pytest

from istvt.benchmarks.bench import BenchRequest, run_bench
from istvt.benchmarks.chart import draw
from istvt.benchmarks.report import BenchReport, Row, to_dict
from istvt.benchmarks.table import format_report
from tests.benchmarks.fakes import FakeHouse, empty_bundle, frame

ROUNDS = {
    "naive": [[frame(6000), frame(6400)]] * 2,
    "torch": [[frame(3000), frame(3300)]] * 2,
    "openvino": [[frame(1000), frame(1100)]] * 2,
}


@pytest.fixture
def report(tmp_path: Path) -> BenchReport:
    house = FakeHouse(ROUNDS, fails_at={"torch": "load"})
    return run_bench(
        empty_bundle(tmp_path / "a.istvt"),
        BenchRequest(backends=["torch", "openvino"], rounds=2, threads=2),
        start=house,
    )


def test_json_keeps_every_field(report: BenchReport) -> None:
    values = json.loads(json.dumps(to_dict(report)))
    assert set(values) == {"schema_version", *(field.name for field in fields(BenchReport))}
    for row, written in zip(report.rows, values["rows"], strict=True):
        assert set(written) == {field.name for field in fields(Row)}
        assert written["round_speedups"] == list(row.round_speedups)


def test_json_says_what_was_measured(report: BenchReport) -> None:
    values = to_dict(replace(report, model=replace(report.model, random_weights=True)))
    assert values["schema_version"] == 1
    assert values["model"]["random_weights"] is True
    assert values["model"]["preset"] == "tiny"
    assert values["environment"]["cores"] >= 1
    assert values["rows"][2]["stages"]["frame"]["p50_ms"] == pytest.approx(1050)


def test_the_table_has_a_line_for_every_row(report: BenchReport) -> None:
    lines = format_report(report).splitlines()
    assert lines[0] == (
        "model:    a.istvt, preset tiny: 96 px, 6 faces a window, 2 blocks, graphs in fp32"
    )
    first = {line.split()[0]: line.split() for line in reversed(lines) if line}
    assert first["naive"] == [
        *("naive", "cpu", "fp32", "1.00", "6199.00", "6200.00", "6400.00"),
        *("0.16", "64", "1.00x", "4"),
    ]
    assert first["openvino"][-2:] == ["5.90x", "4"]
    assert " ".join(first["torch"]) == "torch not measured: broke at load"


def test_memory_that_is_not_known_is_a_dash(report: BenchReport) -> None:
    rows = tuple(replace(row, peak_rss_mib=None) for row in report.rows)
    lines = format_report(replace(report, rows=rows)).splitlines()
    assert next(line for line in lines if line.startswith("naive")).split()[-3] == "-"


def test_the_table_says_that_weights_are_random_and_the_machine_busy(report: BenchReport) -> None:
    model = replace(report.model, random_weights=True)
    environment = replace(report.environment, load_average=31.5, cores=2)
    text = format_report(replace(report, model=model, environment=environment))
    assert "preset tiny with random weights" in text.splitlines()[0]
    assert "load average 31.5 on 2 cores" in text
    quiet = replace(environment, load_average=0.2)
    assert "busy" not in format_report(replace(report, environment=quiet))


def test_the_picture_is_one(report: BenchReport, tmp_path: Path) -> None:
    path = tmp_path / "new" / "bench.png"
    draw(report, path)
    picture = cv2.imread(str(path))
    height, width = picture.shape[:2]
    assert width == 1080
    assert 300 <= height <= 600
    assert picture.std() > 20


def test_the_picture_has_a_bar_for_each_measured_row(report: BenchReport, tmp_path: Path) -> None:
    draw(report, tmp_path / "bench.png")
    picture = cv2.imread(str(tmp_path / "bench.png")).astype(int)
    naive = (abs(picture - (0xC6, 0xBE, 0xB9)).max(axis=2) < 4).sum()
    other = (abs(picture - (0xB5, 0x6D, 0x2F)).max(axis=2) < 4).sum()
    assert naive / other == pytest.approx(620 / 105, rel=0.1)


def test_labels_are_plain_numbers(report: BenchReport, tmp_path: Path) -> None:
    draw(report, tmp_path / "bench.svg")
    drawn = (tmp_path / "bench.svg").read_text()
    assert "<!-- 6200 ms  1.0x -->" in drawn
    assert "<!-- 1050 ms  5.9x -->" in drawn


def test_a_picture_without_any_figure_shows_the_reasons(
    report: BenchReport, tmp_path: Path
) -> None:
    failed = replace(report, rows=(report.rows[1],))
    draw(failed, tmp_path / "bench.png")
    assert cv2.imread(str(tmp_path / "bench.png")).std() > 5
