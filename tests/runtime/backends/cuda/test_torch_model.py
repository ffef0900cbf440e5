"""The parts of the CUDA path that need no CUDA; the rest is for `make gpu-check`."""

import copy
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from istvt.errors import BackendError, DeviceLostError, DeviceMemoryError
from istvt.presets import TINY
from istvt.runtime.backends.cuda.torch_model import (
    WindowPasses,
    fused,
    lower_model,
    torch_precision,
)
from istvt.runtime.backends.torch import TorchScorer
from tests.random_models import random_model


@pytest.fixture(scope="module")
def model():
    return random_model(TINY)


@pytest.fixture(scope="module")
def features():
    generator = torch.Generator().manual_seed(0)
    shape = (3, TINY.num_frames, TINY.num_patches, TINY.embed_dim)
    return torch.randn(shape, generator=generator) * 0.4


@pytest.mark.parametrize(
    ("bundle", "expected"),
    [("fp32", "fp32"), ("fp16", "fp16"), ("bf16", "bf16"), ("int8", "fp16")],
)
def test_the_precision_is_the_bundles(bundle, expected):
    assert torch_precision(bundle) == expected


def test_a_lowered_model_says_nearly_the_same_with_an_fp32_head(model, features):
    pytest.importorskip("triton", reason="Triton is not installed: nothing to fuse")
    lowered = lower_model(torch, copy.deepcopy(model), "bf16")
    assert lowered.blocks[0].mlp[0].weight.dtype == torch.bfloat16
    assert lowered.head[1].weight.dtype == lowered.norm.weight.dtype == torch.float32
    context = fused(lowered)
    with torch.inference_mode(), context:
        kernels = [layer.attend for layer in lowered.modules() if hasattr(layer, "attend")]
        found = lowered.score(features.bfloat16())
        expected = model.score(features)
    assert len(kernels) == 2 * TINY.depth
    assert {type(kernel).__name__ for kernel in kernels} == {"CustomOpDef"}
    assert found.dtype == torch.float32
    assert 0 < (found - expected).abs().max() < 0.1
    assert lower_model(torch, model, "fp32").norm.weight.dtype == torch.float32


def test_a_compiler_that_cannot_be_started_is_no_lost_device(model, features, monkeypatch, caplog):
    ops = pytest.importorskip("istvt.kernels.ops", reason="Triton is not installed")

    def fail(qkv):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(ops, "temporal_attention", fail)
    with torch.inference_mode(), fused(model):
        model.score(features)
    assert "Resource temporarily unavailable" in caplog.text


@pytest.mark.parametrize("attention", ["temporal", "spatial"])
def test_kernels_that_cannot_be_started_are_told_once(
    model, features, monkeypatch, caplog, attention
):
    """As Triton does where there is no C compiler."""
    ops = pytest.importorskip("istvt.kernels.ops", reason="Triton is not installed")

    def fail(qkv):
        sizes = (3, TINY.num_heads, TINY.head_dim)
        assert qkv.shape == (1, TINY.num_frames + 1, TINY.num_patches + 1, *sizes)
        raise RuntimeError("Failed to find C compiler.\nPlease specify via CC")

    before = [layer.attend for layer in model.modules() if hasattr(layer, "attend")]
    monkeypatch.setattr(ops, f"{attention}_attention", fail)
    with torch.inference_mode(), fused(model):
        assert [layer.attend for layer in model.modules() if hasattr(layer, "attend")] == before
        model.score(features)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "without the fused attention" in record.getMessage()
    assert "Failed to find C compiler. Please specify" in record.getMessage()


def test_a_lost_device_is_not_taken_for_kernels_that_cannot_be_started(model, monkeypatch):
    ops = pytest.importorskip("istvt.kernels.ops", reason="Triton is not installed")

    def fail(qkv):
        raise RuntimeError(f"CUDA error: an illegal memory access was encountered{ADVICE}")

    monkeypatch.setattr(ops, "temporal_attention", fail)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        fused(model)


class FakeCuda:
    """`torch.cuda` with graphs that compute again what they hold."""

    def __init__(self, passes_of):
        self.passes_of, self.captures, self.replays = passes_of, 0, 0
        self.CUDAGraph = self.make
        self.error = None

    def make(self):
        def replay():
            self.replays += 1
            for captured in self.passes_of()._graphs.made():
                if captured[0] is graph:
                    captured[2].copy_(captured[1].sum(dim=(1, 2)))

        graph = SimpleNamespace(replay=replay)
        return graph

    def synchronize(self):
        pass

    @contextmanager
    def graph(self, graph, *, capture_error_mode):
        assert capture_error_mode == "thread_local", "another thread's work would end the capture"
        self.captures += 1
        yield
        if self.error:
            raise self.error


def test_a_batch_size_is_captured_at_its_second_call_and_replayed():
    eager = []

    def score(values):
        eager.append(len(values))
        return values.sum(dim=(1, 2))

    cuda = FakeCuda(lambda: passes)
    passes = WindowPasses(SimpleNamespace(cuda=cuda), score)
    inputs = [torch.randn(batch, 2, 3) for batch in (2, 2, 2, 3, 3, 3, 1, 2)]
    for values in inputs:
        assert torch.equal(passes(values).clone(), values.sum(dim=(1, 2)))
    assert eager == [2, 2, 3, 3, 3, 1], "two windows once eager and once captured; three never"
    assert (cuda.captures, cuda.replays) == (1, 3)


ADVICE = """
CUDA kernel errors might be asynchronously reported at some other API call
Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions."""


def test_a_single_window_is_captured_when_a_scorer_is_opened(tiny_bundle):
    with TorchScorer(tiny_bundle, device="cpu") as scorer:
        seen, score = [], scorer._score
        scorer._score = lambda values: (seen.append(values.shape[:2]), score(values))[1]
        scorer._capture_one()
    assert seen == [(1, TINY.num_frames)] * 2


@pytest.mark.parametrize(
    "says", ["CUDA out of memory.", "CUDA error: operation not permitted when stream is capturing"]
)
def test_what_cannot_be_captured_is_an_error(says):
    cuda = FakeCuda(lambda: passes)
    cuda.error = RuntimeError(says + ADVICE)
    passes = WindowPasses(SimpleNamespace(cuda=cuda), lambda values: values.sum(dim=(1, 2)))
    passes(torch.ones(1, 2, 3))
    with pytest.raises(RuntimeError, match=f"cannot be captured: {says}"):
        passes(torch.ones(1, 2, 3))
    passes(torch.ones(1, 2, 3))
    assert cuda.captures == 1, "and it is not tried again"


def test_a_pass_that_failed_is_not_captured_next():
    cuda = FakeCuda(lambda: passes)
    fails = [RuntimeError("CUDA out of memory.")]

    def score(values):
        if fails:
            raise fails.pop()
        return values.sum(dim=(1, 2))

    passes = WindowPasses(SimpleNamespace(cuda=cuda), score)
    values = torch.ones(1, 2, 3)
    with pytest.raises(RuntimeError):
        passes(values)
    passes(values)
    assert cuda.captures == 0
    passes(values)
    assert cuda.captures == 1


def test_cudnn_stays_on_and_is_exact(tiny_bundle, monkeypatch):
    seen = []
    with TorchScorer(tiny_bundle, device="cpu") as scorer:
        cudnn = torch.backends.cudnn
        monkeypatch.setattr(
            scorer._model,
            "encode",
            lambda faces: seen.append((cudnn.enabled, cudnn.allow_tf32)) or faces,
        )
        scorer.encode(np.zeros((1, TINY.image_size, TINY.image_size, 3), np.uint8))
    assert seen == [(True, False)]


@pytest.mark.parametrize(
    ("says", "error"),
    [
        ("CUDA out of memory. Tried to allocate 2.00 GiB", DeviceMemoryError),
        ("CUDA error: an illegal memory access was encountered", DeviceLostError),
        ("expected scalar type Half", BackendError),
        (f"CUDA error: invalid argument{ADVICE}", BackendError),
    ],
)
def test_what_fails_on_cuda_is_told_by_its_kind(tiny_bundle, says, error):
    with TorchScorer(tiny_bundle, device="cpu") as scorer:
        scorer._device = "cuda"
        with pytest.raises(error, match=says[:20]) as told, scorer._torch_errors():
            raise RuntimeError(says)
    assert type(told.value) is error
