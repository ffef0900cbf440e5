"""The demo from start to end, cut short, and what a user types after it."""

import json
import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


def istvt(folder, *args, expect=0):
    done = subprocess.run(
        [sys.executable, "-m", "istvt", *args],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    text = istvt(folder, "demo", "--train-s", "5")
    assert "This model is a toy, trained on one face" in text
    return folder


def test_the_page_shows_every_step(folder):
    html = (folder / "demo" / "index.html").read_text()
    assert html.count("<img") == 7
    for title in ("Clips", "Training", "Export", "Streaming two held-out clips", "Latency"):
        assert f"<h2>{title}</h2>" in html
    assert "trained on one face" in html
    assert re.search(r"openvino|onnxruntime", html)


def test_what_was_streamed_can_be_read_back(folder):
    for label in ("real", "fake"):
        lines = (folder / "demo" / f"{label}.jsonl").read_text().splitlines()
        summary = json.loads(lines[-1])
        assert summary["tracks"] == 1
        assert summary["windows"] > 10
        assert (folder / "demo" / f"{label}_overlay.mp4").stat().st_size > 10_000


def test_the_commands_work_as_the_user_wrote_them(folder):
    assert "held-out windows" in istvt(folder, "export")
    assert "vs naive" in istvt(folder, "bench", "--quick")
    text = istvt(folder, "stream", "--camera", "93", expect=5)
    assert "camera 93" in text
    assert "newest bundle" in text


def test_a_second_demo_replaces_the_first_and_nothing_else(folder):
    (folder / "other").mkdir()
    (folder / "other" / "mine.txt").touch()
    text = istvt(folder, "demo", "--out", "other", expect=2)
    assert "holds files that no demo made" in text
    assert (folder / "other" / "mine.txt").exists()


def test_a_users_run_is_never_removed(tmp_path):
    run = tmp_path / "runs" / "demo"
    run.mkdir(parents=True)
    (run / "config.json").write_text("mine")
    assert "is not a demo's" in istvt(tmp_path, "demo", expect=2)
    assert (run / "config.json").read_text() == "mine"
