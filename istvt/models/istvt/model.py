"""ISTVT: windows of faces in, one logit per window out (above 0 leans to fake).

Source: Zhao et al., ISTVT: Interpretable Spatial-Temporal Video Transformer for Deepfake
Detection, IEEE TIFS 18, 2023.
"""

import torch
from torch import Tensor, nn

from istvt.errors import UsageError
from istvt.models.istvt.block import TransformerBlock
from istvt.models.istvt.xception import EntryFlow
from istvt.presets import ModelPreset, check_preset


class TokenEmbedding(nn.Module):
    """Adds the two learnt class tokens and the position embedding.

    Source: Zhao et al., ISTVT, IEEE TIFS 2023. The space token comes first in every frame, then
    the position embedding is added, then the temporal row is put before the frames; that row has
    no position embedding.
    """

    def __init__(self, preset: ModelPreset) -> None:
        super().__init__()
        columns = preset.num_patches + 1
        self.space_token = nn.Parameter(torch.zeros(1, 1, preset.embed_dim))
        self.temporal_token = nn.Parameter(torch.zeros(1, 1, preset.embed_dim))
        self.pos_embedding = nn.Parameter(
            torch.zeros(1, preset.num_frames, columns, preset.embed_dim)
        )
        for parameter in self.parameters():
            nn.init.trunc_normal_(parameter, std=0.02)

    def forward(self, features: Tensor) -> Tensor:
        """Map `(B, T, N, C)` to `(B, T+1, N+1, C)`."""
        batch, frames, patches, channels = features.shape
        space = self.space_token.expand(batch, frames, 1, channels)
        tokens = torch.cat([space, features], dim=2) + self.pos_embedding
        temporal = self.temporal_token.expand(batch, 1, patches + 1, channels)
        return torch.cat([temporal, tokens], dim=1)


PIXEL_SCALE, PIXEL_OFFSET = 2.0 / 255.0, -1.0  # uint8 to [-1, 1]: mean = std = 0.5


class ISTVT(nn.Module):
    """The whole model, in the two halves that a sliding window wants.

    Raises:
        UsageError: the preset holds a shape that the model cannot have.
    """

    def __init__(self, preset: ModelPreset) -> None:
        check_preset(preset)
        super().__init__()
        self.preset = preset
        self.encoder = EntryFlow(preset)
        self.tokens = TokenEmbedding(preset)
        self.blocks = nn.ModuleList(TransformerBlock(preset) for _ in range(preset.depth))
        self.norm = nn.LayerNorm(preset.embed_dim)
        self.head = nn.Sequential(nn.LayerNorm(preset.embed_dim), nn.Linear(preset.embed_dim, 1))

    def encode(self, faces: Tensor) -> Tensor:
        """Map raw faces to patch features.

        Args:
            faces: `(n, S, S, 3)`, uint8, or float in 0 to 255.

        Returns:
            `(n, h*w, C)`.

        Raises:
            UsageError: the faces are not of the preset's size.
        """
        size = self.preset.image_size
        _check_shape(faces, (size, size, 3), "faces", self.preset)
        dtype = self.encoder.conv1.weight.dtype
        images = faces.permute(0, 3, 1, 2).to(dtype) * PIXEL_SCALE + PIXEL_OFFSET
        return self.encoder(images).flatten(2).transpose(1, 2)

    def score(self, features: Tensor, *, last_block_in_full: bool = False) -> Tensor:
        """Map the features of windows to logits.

        Args:
            features: `(m, T, h*w, C)`.
            last_block_in_full: compute every token of the last block, although only token (0, 0)
                is read; the result is the same.

        Returns:
            `(m,)` logits.

        Raises:
            UsageError: the window is not of the preset's shape.
        """
        preset = self.preset
        expected = (preset.num_frames, preset.num_patches, preset.embed_dim)
        _check_shape(features, expected, "features", preset)
        tokens = self.tokens(features)
        for block in self.blocks[:-1]:
            tokens = block(tokens)
        last: TransformerBlock = self.blocks[-1]  # type: ignore[assignment]
        token = last(tokens)[:, 0, 0] if last_block_in_full else last.forward_class_token(tokens)
        return self.head(self.norm(token)).squeeze(-1)

    def forward(self, faces: Tensor) -> Tensor:
        """Map windows of raw faces `(m, T, S, S, 3)` to logits `(m,)`.

        Raises:
            UsageError: the windows are not of the preset's shape.
        """
        size = self.preset.image_size
        _check_shape(faces, (self.preset.num_frames, size, size, 3), "windows", self.preset)
        features = self.encode(faces.flatten(0, 1))
        return self.score(features.unflatten(0, faces.shape[:2]))


def _check_shape(given: Tensor, row_shape: tuple[int, ...], what: str, preset: ModelPreset) -> None:
    if given.ndim != len(row_shape) + 1 or given.shape[1:] != row_shape:
        raise UsageError(
            f"{what} have shape {tuple(given.shape)}: preset {preset.name!r} takes "
            f"(n, {', '.join(map(str, row_shape))}) for any n"
        )
