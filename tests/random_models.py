"""Models with random weights, of which no parameter or statistic is the default."""

import torch
from torch import nn

from istvt.models.istvt.model import ISTVT
from istvt.presets import CropRecipe, ModelConfig, ModelPreset


def random_model(preset: ModelPreset, *, seed: int = 0) -> ISTVT:
    torch.manual_seed(seed)
    model = ISTVT(preset).eval()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.2)
            layer.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(layer.weight, 0.8, 1.2)
            nn.init.normal_(layer.bias, 0, 0.1)
        elif isinstance(layer, nn.Linear):  # larger than at the start of a training, as after it
            nn.init.normal_(layer.weight, 0, 1.5 * layer.in_features**-0.5)
    for token in model.tokens.parameters():
        nn.init.normal_(token, 0, 0.3)
    return model


def config_of(preset: ModelPreset) -> ModelConfig:
    return ModelConfig(preset=preset, crop=CropRecipe(preset.image_size))
