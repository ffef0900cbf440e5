import numpy as np
import pytest
import torch

from istvt.errors import ModelNotFoundError, UsageError, WeightsError
from istvt.models.load import load_run, load_sample_windows, save_run, save_sample_windows
from istvt.presets import EDGE, TINY
from tests.random_models import config_of, random_model


@pytest.fixture
def run(tmp_path):
    save_run(tmp_path / "run", random_model(TINY), config_of(TINY))
    return tmp_path / "run"


def test_a_run_comes_back_as_it_was(run):
    model, config = load_run(run)
    assert config == config_of(TINY)
    assert not model.training
    for name, tensor in random_model(TINY).state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], tensor, rtol=0, atol=0)


def test_weights_of_another_preset_are_refused(run):
    other = config_of(EDGE).to_dict()
    import json

    (run / "config.json").write_text(json.dumps(other))
    with pytest.raises(WeightsError, match="does not fit preset 'edge'"):
        load_run(run)


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", b"\x80\x04K\x01."])
def test_files_that_are_no_weights_are_refused(run, content):
    (run / "weights.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match=r"weights\.safetensors"):
        load_run(run)


def test_what_is_no_run_is_told(run, tmp_path):
    with pytest.raises(ModelNotFoundError, match="istvt train"):
        load_run(tmp_path)
    (run / "config.json").write_text("{}")
    with pytest.raises(UsageError, match="not a model configuration"):
        load_run(run)
    (run / "config.json").write_text("{")
    with pytest.raises(UsageError, match="not JSON"):
        load_run(run)


def test_sample_windows_come_back_and_damage_is_told(run):
    assert load_sample_windows(run) is None
    faces = np.random.default_rng(0).integers(0, 256, (2, 6, 96, 96, 3), dtype=np.uint8)
    save_sample_windows(run, faces)
    np.testing.assert_array_equal(load_sample_windows(run), faces)
    path = run / "sample_windows.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UsageError, match="damaged"):
        load_sample_windows(run)
