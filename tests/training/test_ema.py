"""The average follows the weights."""

import pytest
import torch

from istvt.models.istvt.model import ISTVT
from istvt.training.optimizer import WeightAverage
from tests.models.istvt.small import SMALL, random_windows

CPU = torch.device("cpu")


def moved(model: ISTVT, by: float) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(by)


def test_it_is_the_moving_average_with_a_short_memory_at_first():
    model = ISTVT(SMALL)
    first = model.head[1].bias.item()
    average = WeightAverage(model, 0.5, device=CPU)
    expected = first
    for step in range(1, 30):
        moved(model, 1.0)
        average.update(model)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * (first + step)
        assert average.model.head[1].bias.item() == pytest.approx(expected, abs=1e-4)
    assert model.head[1].bias.item() != average.model.head[1].bias.item()


def test_the_statistics_of_batch_norm_are_averaged_and_counters_copied():
    model = ISTVT(SMALL)
    average = WeightAverage(model, 0.9, device=CPU)
    model.train()
    model(random_windows(SMALL, batch=2))
    average.update(model)
    own, followed = model.encoder.bn1, average.model.encoder.bn1
    assert followed.num_batches_tracked == own.num_batches_tracked == 1
    # One step: the decay is 2 / 11.
    torch.testing.assert_close(followed.running_mean, own.running_mean * 9 / 11)
    assert not average.model.training
    assert not any(parameter.requires_grad for parameter in average.model.parameters())


def test_it_goes_on_from_a_saved_state():
    model = ISTVT(SMALL)
    first, second = (WeightAverage(model, 0.9, device=CPU) for _ in range(2))
    for average in (first, second):
        average.update(model)
    moved(model, 1.0)
    second.load(first.model.state_dict(), first.steps)
    for average in (first, second):
        average.update(model)
    for name, tensor in first.model.state_dict().items():
        assert tensor.equal(second.model.state_dict()[name])
