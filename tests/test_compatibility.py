"""Open, resume and score what commit aca16a8 wrote, and get the numbers that it recorded.

CPUs round differently. From SSE to AMX, PyTorch gave the same logits to 3e-7, and the same losses
after two more epochs to 1e-6. The tolerances leave room for other versions of the packages; a wrong
weight or a lost moment changes far more.
"""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from istvt.bundle.manifest import open_bundle
from istvt.cli import app
from istvt.console import run_app
from istvt.data.layouts.choose import read_layout
from istvt.data.prepared.folder import open_prepared
from istvt.data.prepared.prepare import prepare
from istvt.data.windows.index import spread, windows_in
from istvt.faces.mtcnn_weights import build_detector
from istvt.models.load import load_run, load_sample_windows
from istvt.runtime.backends.choose import open_scorer
from istvt.runtime.parity import score_windows

WRITTEN = Path(__file__).parent / "fixtures" / "aca16a8"
EXPECTED = json.loads((WRITTEN / "expected.json").read_text())
CLIP = "test/fake/0000.mp4"
LOGIT = {"fp32": 1e-4, "bf16": 0.03, "fp16": 0.03}  # OpenVINO rounds where the CPU is faster so
LOSS = {"rel": 1e-3}
RANK = {"abs": 0.05}  # an area under a curve jumps when two of twenty windows change places
SHOWN = {"abs": 2e-3}  # numbers of a clip: its crops depend on the last digits of found boxes
BOX_PX = {"abs": 1.0}


@pytest.fixture(autouse=True)
def one_thread():
    """Sum in the same order on every machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def written(tmp_path):
    """Give a copy to write into, with the times that git does not keep."""
    folder = shutil.copytree(WRITTEN, tmp_path / "written")
    for video in (folder / "data").rglob("*.mp4"):
        os.utime(video, ns=(EXPECTED["mtime_ns"], EXPECTED["mtime_ns"]))
    return folder


@pytest.fixture
def bundle(written):
    """Give the bundle its name, and build its detector, whose digests it records."""
    folder = (written / "bundle").rename(written / "tiny.istvt")
    build_detector(folder / "detector")
    return folder


@pytest.fixture
def istvt(monkeypatch):
    """Run a command line in this process and give its exit code."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["istvt", *map(str, words)])
        return int(run_app(app))

    return run


@pytest.fixture
def judge(istvt, written, bundle, monkeypatch):
    """Run a command in the data folder; return what it writes to a file, its last option."""

    def run(*words):
        out = written / "out.json"
        options = ("--backend", "onnxruntime", "--device", "cpu", "--threads", 1)
        monkeypatch.chdir(written / "data")
        assert istvt(*words, out, "--model", bundle, *options) == 0
        return out.read_text()

    return run


def flat(values, name=""):
    """Flatten nested JSON: `approx` compares no nested values."""
    inner = values.items() if isinstance(values, dict) else enumerate(values)
    found = {}
    for key, value in inner:
        whole = f"{name}.{key}"
        found |= flat(value, whole) if isinstance(value, dict | list) else {whole: value}
    return found


def split(values, *words):
    """Split values into those whose name holds one of the words, and the rest."""
    named = flat(values)
    chosen = {name: value for name, value in named.items() if any(word in name for word in words)}
    return chosen, {name: value for name, value in named.items() if name not in chosen}


def assert_close(found, recorded, words, *, close, rest):
    """Compare values named by one of the words within `close`, all others within `rest`."""
    assert split(found, *words)[0] == pytest.approx(split(recorded, *words)[0], **close)
    assert split(found, *words)[1] == pytest.approx(split(recorded, *words)[1], **rest)


def test_a_prepared_folder_opens_without_its_videos(written):
    shutil.rmtree(written / "data")
    prepared = open_prepared(written / "prepared")
    root = prepared.manifest.root
    assert str(root) == EXPECTED["data"]
    assert prepared.digest == EXPECTED["digest"]
    assert not prepared.skipped
    starts = {
        video.video.path.relative_to(root).as_posix(): video.starts.tolist()
        for part in ("train", "val", "test")
        for video in windows_in(prepared, part, prepared.recipe.num_frames).videos
    }
    assert starts == EXPECTED["windows"]


def test_its_windows_are_those_that_the_run_kept(written):
    prepared = open_prepared(written / "prepared")
    val = windows_in(prepared, "val", prepared.recipe.num_frames)
    faces = np.stack([window.load().images for window in spread(val, 1)])
    np.testing.assert_allclose(faces, load_sample_windows(written / "run"), atol=2)  # of JPEG


def test_no_face_of_unchanged_videos_is_cut_anew(written):
    folder, told = written / "prepared", []

    def shards():
        return {path: path.stat().st_mtime_ns for path in (folder / "faces").rglob("*.*")}

    before, recipe = shards(), open_prepared(folder).recipe
    manifest = read_layout(written / "data")
    prepared = prepare(manifest, folder, recipe, progress=lambda *counts: told.append(counts))
    assert told == [("faces", 12, 12)]
    assert shards() == before
    assert {faces.shard for faces in prepared.videos} == set(before)
    assert prepared.removed == 0
    assert open_prepared(folder).digest == EXPECTED["digest"]


def test_a_run_gives_its_logits(written):
    model, config = load_run(written / "run")
    faces = load_sample_windows(written / "run")
    assert faces.shape[1:3] == (config.preset.num_frames, config.preset.image_size)
    with torch.no_grad():
        logits = model(torch.from_numpy(faces)).tolist()
    assert logits == pytest.approx(EXPECTED["run_logits"], abs=LOGIT["fp32"])


def test_a_training_is_resumed_as_it_would_have_been(written, istvt):
    run = written / "run"
    options = ("--resume", "--epochs", 4, "--device", "cpu")
    assert istvt("train", written / "prepared", "--out", run, *options) == 0
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        del line["elapsed_s"]
    assert lines[:2] == EXPECTED["epochs"][:2]
    exact = ("epoch", "steps", "lr", "loss", "count")
    assert_close(lines[2:], EXPECTED["epochs"][2:], exact, close=LOSS, rest=RANK)


@pytest.mark.parametrize("backend", ["torch", "onnxruntime", "openvino"])
def test_a_bundle_gives_its_logits(written, bundle, backend):
    faces = load_sample_windows(written / "run")
    with open_scorer(open_bundle(bundle), backend=backend, device="cpu", threads=1) as scorer:
        logits = score_windows(scorer, faces).tolist()
        limit = LOGIT[scorer.info.precision]
    for recorded in EXPECTED["bundle_logits"].values():
        assert logits == pytest.approx(recorded, abs=limit)


def test_a_clip_has_the_recorded_verdict(judge):
    found = json.loads(judge("score", CLIP, "--json"))
    assert_close(found, EXPECTED["score"], (), close={}, rest=SHOWN)


def test_a_clip_streams_to_the_recorded_lines(judge):
    lines = judge("stream", "--source", CLIP, "--json").splitlines()
    found = list(map(json.loads, lines))
    assert_close(found, EXPECTED["stream"], ("box_xyxy",), close=BOX_PX, rest=SHOWN)
