"""Patch features of a window in, tokens with a space column and a temporal row out."""

import torch
from torch import Tensor, nn

from istvt.presets import ModelPreset


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
