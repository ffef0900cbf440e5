"""The naive row does everything that the product avoids, and no more."""

from pathlib import Path

import pytest
import torch

from istvt.benchmarks.peers import NaiveFrame
from istvt.errors import BackendError
from istvt.models.istvt.model import ISTVT
from istvt.models.load import save_weights
from tests.benchmarks.fakes import empty_bundle
from tests.models.istvt.small import SMALL


@pytest.fixture
def naive(tmp_path: Path) -> NaiveFrame:
    bundle = empty_bundle(tmp_path, SMALL)
    save_weights(bundle.weights, ISTVT(SMALL))
    return NaiveFrame(bundle, device="cpu", clock=iter(range(100)).__next__)


def test_encodes_all_faces_of_each_window_and_the_whole_last_block(
    naive: NaiveFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded, scored = [], []
    encode, score = ISTVT.encode, ISTVT.score

    def spy_encode(self: ISTVT, faces: torch.Tensor) -> torch.Tensor:
        encoded.append(tuple(faces.shape))
        return encode(self, faces)

    def spy_score(self: ISTVT, features: torch.Tensor, **options: bool) -> torch.Tensor:
        scored.append((tuple(features.shape), features.dtype, options))
        return score(self, features, **options)

    monkeypatch.setattr(ISTVT, "encode", spy_encode)
    monkeypatch.setattr(ISTVT, "score", spy_score)
    naive()
    naive()
    assert encoded == [(3, 48, 48, 3)] * 2
    assert scored == [((1, 3, 9, 20), torch.float32, {"last_block_in_full": True})] * 2


def test_times_both_stages(naive: NaiveFrame) -> None:
    time = naive()
    assert (time.encoder_s, time.window_s) == (1, 1)  # the clock ticks once a reading


def test_a_device_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(BackendError, match="--device cpu"):
        NaiveFrame(empty_bundle(tmp_path, SMALL), device="cuda")
