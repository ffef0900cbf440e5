"""A scorer that keeps its promises, and ones that break each of them."""

import numpy as np
import pytest

from istvt.benchmarks.gpu_check.conformance import broken_promises
from istvt.benchmarks.gpu_check.subject import make_windows
from istvt.presets import TINY
from istvt.runtime.backends.choose import open_scorer
from tests.fakes import FakeScorer


@pytest.fixture(scope="module")
def faces():
    return make_windows(TINY, count=2).reshape(-1, TINY.image_size, TINY.image_size, 3)[:8]


def test_onnxruntime_keeps_all(tiny_bundle, faces):
    with open_scorer(tiny_bundle, backend="onnxruntime", device="cpu") as scorer:
        assert broken_promises(scorer, faces, tolerance=1e-4) == []


def test_the_fake_knows_no_time(faces):
    broken = broken_promises(FakeScorer(TINY), faces, tolerance=1e-4)
    assert broken == ["the order of time matters"]


class BatchesInterfere(FakeScorer):
    def score(self, windows):
        return super().score(windows) + np.float32(0.1) * len(windows)


class OneBufferForAll(FakeScorer):
    """Gives views of one array, as a graph's output is."""

    _buffer = np.zeros((64, 1))

    def encode(self, faces):
        features = super().encode(faces)
        for row, feature in enumerate(features):
            self._buffer[row] = np.mean(feature)
        return [self._buffer[row] for row in range(len(features))]


class ReadsLater(FakeScorer):
    def encode(self, faces):
        super().encode(faces)
        return list(faces)

    def score(self, windows):
        super().score(windows)
        return np.array([np.mean(window) for window in windows], dtype=np.float32)


class TakesAnyFaces(FakeScorer):
    def encode(self, faces):
        return [np.float32(face.mean()) for face in faces]

    def score(self, windows):
        return np.array([np.mean(window) for window in windows], dtype=np.float32)


@pytest.mark.parametrize(
    ("scorer", "promise"),
    [
        (BatchesInterfere, "batches change no logit"),
        (OneBufferForAll, "handles outlive later calls"),
        (ReadsLater, "the input may be reused"),
        (TakesAnyFaces, "wrong faces are refused"),
        (TakesAnyFaces, "wrong windows are refused"),
    ],
)
def test_what_is_broken_is_named(scorer, promise, faces):
    assert promise in broken_promises(scorer(TINY), faces, tolerance=1e-4)
