"""Models that a test can run in milliseconds, with random values for every tensor."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from istvt.models.istvt.model import ISTVT
from istvt.models.istvt.weights import from_authors
from istvt.presets import ModelPreset
from tests.models.istvt.authors import authors_shapes, random_state

# A grid of 3x3; the inner width of the attention is unlike the embedding's.
SMALL = ModelPreset(
    name="small",
    image_size=48,
    num_frames=3,
    embed_dim=20,
    depth=2,
    num_heads=3,
    head_dim=8,
    encoder_widths=(5, 6, 8, 12),
)


def random_model(preset: ModelPreset, *, seed: int = 0) -> ISTVT:
    """In evaluation mode."""
    model = ISTVT(preset)
    state = random_state(authors_shapes(preset), seed=seed)
    model.load_state_dict(from_authors(state, preset).state_dict, strict=True)
    return model.eval()


def random_windows(preset: ModelPreset, *, batch: int, seed: int = 0) -> Tensor:
    """Noise `(batch, T, S, S, 3)` uint8."""
    return torch.from_numpy(random_pixels(preset, batch=batch, seed=seed))


def random_pixels(preset: ModelPreset, *, batch: int, seed: int = 0) -> NDArray[np.uint8]:
    size = preset.image_size
    shape = (batch, preset.num_frames, size, size, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
