"""The model that is checked, the windows it is shown, and what fp32 on the CPU says of them."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from istvt.extras import require
from istvt.presets import ModelPreset, ModelSpec
from istvt.records import FloatArray, UInt8Array
from istvt.runtime.parity import random_windows

if TYPE_CHECKING:
    from gpu_check.result import Settings
    from istvt.models.istvt.model import ISTVT

NUM_WINDOWS = 8


def make_model(preset: ModelPreset, *, seed: int = 0) -> "ISTVT":
    """Build a model with random weights of which none is the default; the same each time.

    Its weights are larger than at the start of a training, as after it, so that windows differ.
    """
    torch = require("torch", extra="gpu")
    from istvt.models.istvt.model import ISTVT

    torch.manual_seed(seed)
    model = ISTVT(preset).eval()
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.running_mean.normal_(0, 0.2)
                layer.running_var.uniform_(0.5, 1.5)
                layer.weight.uniform_(0.8, 1.2)
                layer.bias.normal_(0, 0.1)
            elif isinstance(layer, torch.nn.Conv2d):  # PyTorch's own start lets pictures fade
                layer.weight.normal_(0, (2 / layer.weight[0].numel()) ** 0.5)
            elif isinstance(layer, torch.nn.Linear):
                layer.weight.normal_(0, 1.5 * layer.in_features**-0.5)
        for token in model.tokens.parameters():
            token.normal_(0, 0.3)
    return model


def make_windows(
    preset: ModelPreset | ModelSpec, *, count: int = NUM_WINDOWS, seed: int = 0
) -> UInt8Array:
    """Make windows `(count, T, S, S, 3)` as an export does that has none to show."""
    return random_windows(preset, count=count, seed=seed).faces


def reference_logits(settings: "Settings") -> FloatArray:
    """Score the windows in fp32 on the CPU; the first call of a run keeps them in `work`."""
    path = Path(settings.work) / "reference.npy"
    if not path.is_file():
        torch = require("torch", extra="gpu")
        model = make_model(settings.preset)
        windows = torch.from_numpy(make_windows(settings.preset))
        with torch.inference_mode():
            np.save(path, np.concatenate([model(window[None]).numpy() for window in windows]))
    logits: FloatArray = np.load(path)
    return logits
