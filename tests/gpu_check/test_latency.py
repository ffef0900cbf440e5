"""Work counted from shapes; frames timed beside eager."""

from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest
import torch

from gpu_check import latency, subject
from gpu_check.clock import Clock
from gpu_check.subject import Settings, check_logits, make_windows
from gpu_check.table import Row
from gpu_check.ways import make_stages
from istvt.presets import PAPER, TINY
from tests.fakes import FakeScorer
from tests.models.istvt.small import SMALL, random_model

SETTINGS = Settings(device="cpu", preset_name="tiny", work="", seconds=0.01)


def test_work_of_a_window_is_that_of_its_products():
    rows, columns, dim, heads = 7, 362, 728, 8
    inner = heads * 64
    tokens = rows * columns
    layers = 2 * (2 * tokens * dim * 3 * inner + 2 * tokens * inner * dim)
    mlp = 2 * 2 * tokens * dim * 4 * dim
    mixing = 4 * columns * heads * rows**2 * 64 + 4 * rows * heads * columns**2 * 64
    last_temporal = 2 * columns * dim * inner + 2 * tokens * dim * 2 * inner
    last_temporal += 4 * columns * inner * rows + 2 * columns * inner * dim
    last_spatial = 2 * dim * inner + 2 * columns * dim * 2 * inner
    last_spatial += 4 * columns * inner + 2 * inner * dim
    last = last_temporal + last_spatial + 2 * 2 * dim * 4 * dim + 2 * dim
    assert latency.window_flop(PAPER, 1) == 11 * (layers + mlp + mixing) + last
    assert latency.window_flop(PAPER, 8) == 8 * latency.window_flop(PAPER, 1)


def test_figures_fit_each_other(monkeypatch):
    durations = {"our encoder": 1.0, "our window": 2.0, "our frame": 4.0, "eager frame": 12.0}
    monkeypatch.setattr(
        latency,
        "take_turns",
        lambda works, time_ms, *, seconds: {name: [durations.get(name, 5.0)] * 3 for name in works},
    )
    monkeypatch.setattr(latency, "product_rate", lambda settings, dtype: 100.0)
    monkeypatch.setattr(latency, "window_flop", lambda preset, batch: batch * 12e9)
    works = dict.fromkeys(latency.STAGES, lambda: None)
    figures = latency.measure_frames(SETTINGS, works, works, batch=8)
    assert figures == {
        "encoder_ms": 1.0,
        "window_ms": 2.0,
        "frame_ms": 4.0,
        "eager_frame_ms": 12.0,
        "times_eager": 3.0,
        "window_tflop_per_s": pytest.approx(48.0),
        "of_products_percent": pytest.approx(48.0),
    }


@pytest.mark.parametrize("way", ["eager", "fused", "fused, graph"])
def test_a_frame_is_the_newest_face_and_the_window(way):
    model = random_model(SMALL)
    windows = torch.from_numpy(make_windows(SMALL, count=2))
    with torch.no_grad(), ExitStack() as stack:
        expected = model(windows)
        stages = make_stages(way, model, batch=2, clock=Clock(), stack=stack)
        for position in range(SMALL.num_frames):
            stages.pixels.copy_(windows[:, min(position, SMALL.num_frames - 2)])
            stages.features[:, position] = stages.encode()
        found = stages.frame(windows[:, -1])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("batch", [1, 8])
def test_a_way_that_says_something_else_fails(monkeypatch, tmp_path, batch):
    """What is timed is what is compared: a graph of batch 8 is another than that of batch 1."""

    def with_a_wrong_graph(way, model, **named):
        stages = make_stages("eager", model, **named)
        if way == "eager" or named["batch"] != 8:
            return stages
        return replace(stages, score=lambda: stages.score().flip(0))

    monkeypatch.setattr(subject, "preset_named", lambda name: SMALL)
    monkeypatch.setattr(latency, "make_stages", with_a_wrong_graph)
    monkeypatch.setattr(latency, "measure_frames", lambda *works, batch: {"times_eager": 1.0})
    settings = replace(SETTINGS, work=str(tmp_path))
    row = latency.measure_way(settings, Row("latency", "frame", "fused, compiled", "fp16", batch))
    assert row.status == ("pass" if batch == 1 else "fail")
    assert ("logits are off by" in row.reason) == (batch == 8)
    assert (row.value, row.contender) == (1.0, "ours")


@pytest.mark.parametrize(("way", "compiles"), [("fused, compiled", True), ("fused", False)])
def test_compiling_is_told_while_it_lasts(monkeypatch, tmp_path, way, compiles):
    """What is stopped meanwhile took too long; a pass that hangs afterwards failed."""
    seen, told = [], [""]

    def stages_of(way, model, **named):
        stages = make_stages("eager", model, **named)
        return replace(stages, score=lambda: [seen.append(told[-1])] and stages.score())

    monkeypatch.setattr(subject, "preset_named", lambda name: SMALL)
    monkeypatch.setattr(subject, "build_listeners", [told.append])
    monkeypatch.setattr(latency, "make_stages", stages_of)
    monkeypatch.setattr(latency, "measure_frames", lambda *works, batch: {"times_eager": 1.0})
    settings = replace(SETTINGS, work=str(tmp_path))
    latency.measure_way(settings, Row("latency", "frame", way, "fp16", 8))
    assert bool(seen[0]) == compiles
    assert not seen[-1]


def test_a_scorers_frame_is_a_new_face_of_each_camera():
    scorer = FakeScorer(TINY)
    works = latency.scorer_works(scorer, 3)
    scorer.encoded_batches.clear()
    assert works["frame"]().shape == works["window"]().shape == (3,)
    assert scorer.encoded_batches == [3]
    assert scorer.scored_batches == [3, 3]


@pytest.mark.parametrize(("wrong", "status"), [(0, "pass"), (1, "fail")])
def test_a_scorer_that_replays_its_first_graph_is_not_right(monkeypatch, tmp_path, wrong, status):
    """Each batch is scored again with other windows: as often as a graph needs to be in use."""
    settings = replace(SETTINGS, work=str(tmp_path))
    reference = np.linspace(-1, 1, 8, dtype=np.float32)
    np.save(tmp_path / "reference.npy", reference)
    windows = latency.make_windows(TINY)
    known = {window.tobytes(): logit for window, logit in zip(windows, reference, strict=True)}

    class Scorer(FakeScorer):
        first = None

        def encode(self, faces):
            return [faces.tobytes()]

        def score(self, windows):
            logits = np.array([known[window[0]] for window in windows], dtype=np.float32)
            if self.first is None:
                self.first = logits
            return self.first if wrong else logits

    monkeypatch.setattr(latency, "open_subject", lambda *arguments: Scorer(TINY))
    monkeypatch.setattr(latency, "scorer_works", lambda *arguments: {})
    monkeypatch.setattr(latency, "measure_frames", lambda *works, batch: {"times_eager": 2.0})
    row = latency.measure_scorer(settings, Row("scorers", "frame", "torch", "fp16", 8))
    assert (row.status, row.value, row.contender) == (status, 2.0, "ours")


@pytest.mark.parametrize(("is_fused", "contender"), [(True, "ours"), (False, "")])
def test_pytorch_without_our_kernels_is_none_of_ours(monkeypatch, is_fused, contender):
    scorer = FakeScorer(TINY)
    scorer.is_fused = is_fused
    right = check_logits(np.arange(3.0), np.arange(3.0), 1.0)
    monkeypatch.setattr(latency, "open_subject", lambda *arguments: scorer)
    monkeypatch.setattr(latency, "check_turns", lambda *arguments, batch: right)
    monkeypatch.setattr(latency, "measure_frames", lambda *works, batch: {"times_eager": 2.0})
    row = latency.measure_scorer(SETTINGS, Row("scorers", "frame", "torch", "fp16", 1))
    assert (row.status, row.contender) == ("pass", contender)
