"""MesoNet-4 has the paper's layers, and its head averages frames."""

import pytest
import torch
from torch import nn

from istvt.errors import UsageError
from istvt.models.mesonet import MesoNet
from istvt.presets import MESONET, MesoNetPreset

SMALL = MesoNetPreset("small", image_size=64, num_frames=4)


def small() -> MesoNet:
    torch.manual_seed(0)
    return MesoNet(SMALL).eval()


def test_it_has_as_many_weights_as_the_paper_says():
    model = MesoNet(MESONET)
    assert sum(parameter.numel() for parameter in model.parameters()) == 27_977
    assert MESONET.spec.feature_shape == (16,)
    shapes = [
        tuple(layer.weight.shape) for layer in model.modules() if isinstance(layer, nn.Conv2d)
    ]
    assert shapes == [(8, 3, 3, 3), (8, 8, 5, 5), (16, 8, 5, 5), (16, 16, 5, 5)]
    assert model.embed[1].in_features == 16 * 8 * 8


def test_a_windows_logit_is_the_mean_of_its_frames():
    model, features = small(), torch.randn(3, 4, 16)
    alone = MesoNet(MesoNetPreset("one", image_size=64, num_frames=1)).eval()
    alone.load_state_dict(model.state_dict())
    frames = alone.score(features.flatten(0, 1)[:, None]).unflatten(0, (3, 4))
    torch.testing.assert_close(model.score(features), frames.mean(dim=1))


def test_only_training_drops_out():
    model, features = small(), torch.randn(3, 4, 16)
    assert model.score(features).equal(model.score(features))
    model.train()
    assert not model.score(features).equal(model.score(features))


def test_the_smallest_picture_leaves_one_pixel():
    smallest = MesoNetPreset("least", MesoNetPreset.min_image_size, num_frames=1)
    size = smallest.image_size
    assert MesoNet(smallest).eval().encode(torch.zeros(1, size, size, 3)).shape == (1, 16)
    with pytest.raises(UsageError, match="image_size is 31 px: the encoder needs at least 32 px"):
        MesoNet(MesoNetPreset("less", 31, num_frames=1))


def test_a_mask_leaves_the_mean_of_the_frames_that_count():
    model, features = small(), torch.randn(2, 4, 16)
    mask = torch.tensor([[True, False, False, True], [False, True, False, False]])
    kept = [features[0, [0, 3, 0, 3]], features[1, [1, 1, 1, 1]]]
    torch.testing.assert_close(model.score(features, mask), model.score(torch.stack(kept)))
