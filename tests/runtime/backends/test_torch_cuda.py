"""The parts of the CUDA path that need no CUDA; the rest is for `make gpu-check`."""

import copy
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from istvt.presets import TINY
from istvt.runtime.backends.torch_cuda import (
    WindowPasses,
    fused,
    lower_model,
    torch_precision,
)
from tests.models import random_model


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


class FakeCuda:
    """`torch.cuda` with graphs that compute again what they hold."""

    def __init__(self, passes_of):
        self.passes_of, self.captures, self.replays = passes_of, 0, 0
        self.CUDAGraph = self.make

    def make(self):
        def replay():
            self.replays += 1
            for captured in self.passes_of()._graphs.values():
                if captured is not None and captured[0] is graph:
                    captured[2].copy_(captured[1].sum(dim=(1, 2)))

        graph = SimpleNamespace(replay=replay)
        return graph

    def synchronize(self):
        pass

    @contextmanager
    def graph(self, graph):
        self.captures += 1
        yield


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
