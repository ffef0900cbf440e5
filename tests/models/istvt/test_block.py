"""Activation checkpointing changes memory and nothing else."""

from dataclasses import replace

import torch

from istvt.models.istvt.model import ISTVT
from tests.models.istvt.small import SMALL, random_windows

PRESET = replace(SMALL, depth=4)


def trained(*, checkpointed: bool) -> tuple[float, dict[str, torch.Tensor], int, list[str]]:
    """Loss, gradients, bytes kept for the backward pass, and names of the state."""
    torch.manual_seed(0)
    model = ISTVT(PRESET).train()
    if checkpointed:
        model.checkpoint_blocks()
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model(random_windows(PRESET, batch=4)).square().mean()
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return float(loss.detach()), gradients, sum(kept.values()), list(model.state_dict())


def test_losses_gradients_and_names_stay_and_memory_falls():
    loss, gradients, kept, names = trained(checkpointed=False)
    loss_again, gradients_again, kept_less, names_again = trained(checkpointed=True)
    assert loss_again == loss
    assert names_again == names
    for name, gradient in gradients.items():
        assert gradient is not None, name
        torch.testing.assert_close(gradients_again[name], gradient, rtol=0, atol=0)
    # The encoder's part stays, and is most of it in so small a model.
    assert kept_less < 0.75 * kept


def test_without_gradients_nothing_is_kept():
    model = ISTVT(PRESET).eval()
    windows = random_windows(PRESET, batch=2)
    with torch.no_grad():
        plain = model(windows)
        model.checkpoint_blocks()
        assert model(windows).equal(plain)
