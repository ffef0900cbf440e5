"""Many pipelines through one hub: one batch for all, and the numbers of each alone."""

import numpy as np
import pytest

from istvt.errors import UsageError
from istvt.presets import TINY, Sampling
from istvt.runtime.backends.choose import open_scorer
from istvt.runtime.hub import MAX_FACES_A_BATCH, Hub
from istvt.runtime.stages import StageTimers
from tests.fakes import FakeScorer
from tests.runtime.sources import BRIGHT, DARK, frames_of, picture, pipeline_of

FRAMES = 16


class Counted:
    """Counts the rows of each call of a scorer."""

    def __init__(self, scorer):
        self._scorer = scorer
        self.encoded_batches, self.scored_batches = [], []

    def encode(self, faces):
        self.encoded_batches.append(len(faces))
        return self._scorer.encode(faces)

    def score(self, windows):
        self.scored_batches.append(len(windows))
        return self._scorer.score(windows)


def noisy(*cells, seed):
    """Pictures whose faces are noise, another in each frame."""
    noise = np.random.default_rng(seed).integers(1, 256, (FRAMES, 160, 200, 3), dtype=np.uint8)
    return list(noise * (picture(*cells) > 0))


def cameras():
    """Two faces, one, one that is sampled at every third frame, and none."""
    return [
        (Sampling(), noisy((0, 1, 1), (3, 1, 1), seed=1)),
        (Sampling(), noisy((2, 2, 1), seed=2)),
        (Sampling(frame_step=3), noisy((4, 0, 1), seed=3)),
        (Sampling(), [picture()] * FRAMES),
    ]


def step_together(scorer, made, **options):
    """The results of each camera, all stepped by one hub."""
    hub = Hub(scorer, **options)
    pipelines = [pipeline_of(sampling) for sampling, _ in made]
    rows = zip(*(frames_of(images) for _, images in made), strict=True)
    steps = [hub.step(list(zip(pipelines, row, strict=True))) for row in rows]
    return list(zip(*steps, strict=True))


def said(results):
    """Where each window ends, of whom, and its logit, as far as it has come."""
    found = [
        (result.frame.index, track.track_id, track.window.logit, track.probability)
        for result in results
        for track in result.tracks
        if track.window is not None
    ]
    return np.array(found).reshape(-1, 4)


def check_same_as_alone(scorer, made, together, *, tolerance):
    for camera, results in zip(made, together, strict=True):
        (alone,) = step_together(scorer, [camera])
        assert [result.frame.index for result in results] == list(range(FRAMES))
        np.testing.assert_allclose(said(results), said(alone), atol=tolerance, rtol=0)


def test_cameras_together_say_what_each_says_alone():
    made, scorer = cameras(), FakeScorer(TINY)
    together = step_together(scorer, made)
    assert [len(said(results)) for results in together] == [22, 11, 1, 0]
    logits = [said(results)[:, 2] for results in together]
    assert len(np.unique(np.concatenate(logits))) == 22 + 11 + 1, "no two windows are alike"
    check_same_as_alone(scorer, made, together, tolerance=0)


def test_one_call_encodes_and_one_scores_the_rows_of_all_cameras():
    scorer = FakeScorer(TINY)
    step_together(scorer, cameras())
    assert scorer.encoded_batches == [4 if index % 3 == 0 else 3 for index in range(FRAMES)]
    assert scorer.scored_batches == [3] * 10 + [4], "the third camera's only window ends last"


def test_cameras_together_say_what_each_says_alone_in_onnx_runtime(tiny_bundle):
    made = cameras()
    with open_scorer(tiny_bundle, backend="onnxruntime", device="cpu", threads=1) as scorer:
        counted = Counted(scorer)
        together = step_together(counted, made)
        assert counted.encoded_batches == [4 if index % 3 == 0 else 3 for index in range(FRAMES)]
        assert [len(said(results)) for results in together] == [22, 11, 1, 0]
        check_same_as_alone(scorer, made, together, tolerance=1e-4)


@pytest.mark.parametrize("max_batch", [1, 5, None])
def test_a_batch_has_a_bound_over_all_cameras(max_batch):
    cells = [(column, row, DARK) for column in range(2) for row in range(2)]
    options = {} if max_batch is None else {"max_batch": max_batch}
    bound = max_batch or MAX_FACES_A_BATCH
    made = [(Sampling(), [picture(*cells, (4, 3, value))] * FRAMES) for value in (DARK, BRIGHT)]
    scorer = FakeScorer(TINY)
    together = step_together(scorer, made, **options)
    assert max(scorer.encoded_batches) == max(scorer.scored_batches) == bound
    assert sum(scorer.encoded_batches) == 10 * FRAMES
    assert sum(scorer.scored_batches) == 10 * (FRAMES - TINY.num_frames + 1)
    check_same_as_alone(scorer, made, together, tolerance=0)


def test_the_hub_times_its_own_stages():
    hub = Hub(FakeScorer(TINY), timers=StageTimers())
    pipeline = pipeline_of()
    for frame in frames_of([picture((0, 1, DARK))] * 10):
        hub.step([(pipeline, frame)])
    calls = [
        {row.stage: row.calls for row in timers.summary()}
        for timers in (hub.timers, pipeline.timers)
    ]
    assert calls == [{"encode": 10, "score": 5}, {"cut": 10, "faces": 10, "crop": 10}]


def test_no_cameras_are_no_results():
    assert Hub(FakeScorer(TINY)).step([]) == []


def test_wrong_steps_are_told():
    pipeline, frame = pipeline_of(), next(frames_of([picture()]))
    with pytest.raises(UsageError, match="two frames in one step"):
        Hub(FakeScorer(TINY)).step([(pipeline, frame), (pipeline, frame)])
    with pytest.raises(UsageError, match="max_batch is 0"):
        Hub(FakeScorer(TINY), max_batch=0)
