"""One process is a team too: the arithmetic is that of PyTorch's own layer."""

import pytest
import torch
from torch import nn

from istvt.training import batch_norm
from istvt.training.batch_norm import SyncedBatchNorm2d, synchronise_batch_norm


@pytest.fixture
def alone(monkeypatch):
    monkeypatch.setattr(batch_norm, "all_reduce", lambda _: None)


def passed(layer: nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    images = images.clone().requires_grad_()
    out = layer(images)
    (out * torch.arange(out.numel()).view(out.shape).sin()).sum().backward()
    return [out, images.grad, layer.weight.grad, layer.bias.grad, *layer.buffers()]


def test_it_does_what_pytorch_s_layer_does(alone):
    torch.manual_seed(0)
    images = 100 + 3 * torch.randn(4, 5, 6, 7)
    plain, synced = nn.BatchNorm2d(5), nn.BatchNorm2d(5)
    for layer in (plain, synced):
        nn.init.constant_(layer.weight, 1.5)
    synchronise_batch_norm(nn.Sequential(synced), torch.device("cpu"))
    assert type(synced) is SyncedBatchNorm2d
    assert list(synced.state_dict()) == list(plain.state_dict())
    for mine, theirs in zip(passed(synced, images), passed(plain, images), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
    assert plain.eval()(images).allclose(synced.eval()(images), atol=1e-4)


def test_half_precision_goes_in_and_comes_out(alone):
    layer = nn.BatchNorm2d(3)
    synchronise_batch_norm(nn.Sequential(layer), torch.device("cpu"))
    images = torch.randn(2, 3, 4, 4).bfloat16()
    assert layer(images).dtype == torch.bfloat16
    assert layer.running_mean.dtype == torch.float32
