"""A scorer that keeps its promises, and ones that break each of them."""

import numpy as np
import pytest

from gpu_check.subject import make_windows
from istvt.presets import TINY
from istvt.runtime.backends.choose import open_scorer
from tests.fakes import FakeScorer
from tests.gpu.conformance import NUM_WINDOWS, broken_promises


@pytest.fixture(scope="module")
def faces():
    windows = make_windows(TINY, count=3).reshape(-1, TINY.image_size, TINY.image_size, 3)
    return windows[: TINY.num_frames + NUM_WINDOWS - 1]


def test_onnxruntime_keeps_all(tiny_bundle, faces):
    with open_scorer(tiny_bundle, backend="onnxruntime", device="cpu") as scorer:
        assert broken_promises(scorer, faces, tolerance=1e-4) == []


def test_the_fake_knows_no_time(faces):
    broken = broken_promises(FakeScorer(TINY), faces, tolerance=1e-4)
    assert broken == ["the order of time matters"]


class BatchesInterfere(FakeScorer):
    def score(self, windows):
        return super().score(windows) + np.float32(0.1) * len(windows)


class ReplaysTheFirst(FakeScorer):
    """Has a graph of some sizes that gives what it gave when it was recorded."""

    sizes: tuple[int, ...] = (2, 4, 8)

    def __init__(self, preset):
        super().__init__(preset)
        self._recorded = {}

    def score(self, windows):
        logits = super().score(windows)
        if len(windows) not in self.sizes:
            return logits
        return self._recorded.setdefault(len(windows), logits)


class ReplaysTheFirstOf8(ReplaysTheFirst):
    sizes = (8,)


class ReplaysTheFirstOf4(ReplaysTheFirst):
    sizes = (4,)


class ReplaysTheFirstOf2(ReplaysTheFirst):
    sizes = (2,)


class MixesFacesUpBeyond16(FakeScorer):
    """Past the batch that its encoder was tuned for."""

    def encode(self, faces):
        features = super().encode(faces)
        return features[:16] + features[:16][: len(faces) - 16] if len(faces) > 16 else features


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
        (ReplaysTheFirstOf2, "batches change no logit"),
        (ReplaysTheFirstOf4, "batches change no logit"),
        (ReplaysTheFirstOf8, "batches change no logit"),
        (MixesFacesUpBeyond16, "batches change no logit"),
        (OneBufferForAll, "handles outlive later calls"),
        (ReadsLater, "the input may be reused"),
        (TakesAnyFaces, "wrong faces are refused"),
        (TakesAnyFaces, "wrong windows are refused"),
    ],
)
def test_what_is_broken_is_named(scorer, promise, faces):
    assert promise in broken_promises(scorer(TINY), faces, tolerance=1e-4)


class TakesAnotherKernel(FakeScorer):
    """Sums in another order every second time."""

    def __init__(self, preset):
        super().__init__(preset)
        self._turn = 0

    def score(self, windows):
        self._turn += 1
        return super().score(windows) + np.float32(6e-3) * (self._turn % 2)


@pytest.mark.parametrize(("tolerance", "allowed"), [(0.03, True), (1e-3, False)])
def test_another_right_kernel_is_no_broken_promise(tolerance, allowed, faces):
    """TensorRT and cuBLAS may take one meanwhile; what is allowed fits the number format."""
    broken = broken_promises(TakesAnotherKernel(TINY), faces, tolerance=tolerance)
    assert ("the input may be reused" not in broken) == allowed
    assert ("batches change no logit" not in broken) == allowed


@pytest.mark.parametrize(
    ("kind", "promise"),
    [(OneBufferForAll, "handles outlive later calls"), (ReadsLater, "the input may be reused")],
)
def test_other_faces_are_told_however_much_is_allowed(kind, promise, faces):
    assert promise in broken_promises(kind(TINY), faces, tolerance=100.0)


def test_a_tolerance_wider_than_what_lies_between_windows_hides_nothing(faces):
    broken = broken_promises(ReplaysTheFirst(TINY), faces, tolerance=100.0)
    assert "batches change no logit" in broken
