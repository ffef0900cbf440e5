import pytest
import torch

from istvt.errors import ModelNotFoundError, WeightsError
from istvt.models.istvt.model import ISTVT
from istvt.models.load import save_run
from istvt.presets import EDGE, TINY
from istvt.training import initial_weights as import_weights
from istvt.training.initial_weights import load_start
from tests.random_models import config_of, random_model


def test_a_run_gives_its_weights(tmp_path):
    known = random_model(TINY, seed=1)
    save_run(tmp_path / "run", known, config_of(TINY))
    model = ISTVT(TINY)
    load_start(model, str(tmp_path / "run"))
    for name, tensor in known.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], tensor, rtol=0, atol=0)


def test_a_run_of_another_shape_is_refused(tmp_path):
    save_run(tmp_path / "run", random_model(TINY), config_of(TINY))
    with pytest.raises(WeightsError, match=r"preset 'tiny' .96 px, 2 blocks.*same shape"):
        load_start(ISTVT(EDGE), str(tmp_path / "run"))
    with pytest.raises(ModelNotFoundError, match="not a run"):
        load_start(ISTVT(TINY), str(tmp_path / "nothing"))


def test_imagenet_goes_through_timm(monkeypatch):
    asked = []
    monkeypatch.setattr(import_weights, "load_xception_imagenet", asked.append)
    model = ISTVT(TINY)
    load_start(model, "imagenet")
    assert asked == [model]
