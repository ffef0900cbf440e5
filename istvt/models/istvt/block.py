"""Mix tokens in one transformer block, with or without activation checkpointing.

Source: Zhao et al., ISTVT, IEEE TIFS 2023: `x = spatial(LN(temporal(LN(x)))) + x`, then
`x = ffn(LN(x)) + x`. One residual runs around both attentions.
"""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from istvt.models.istvt.attention import SpatialAttention, TemporalAttention
from istvt.presets import ModelPreset


class TransformerBlock(nn.Module):
    """Temporal attention, spatial attention and a feed-forward layer with exact GELU."""

    def __init__(self, preset: ModelPreset) -> None:
        super().__init__()
        width = preset.embed_dim
        self.norm_temporal = nn.LayerNorm(width)
        self.temporal = TemporalAttention(preset)
        self.norm_spatial = nn.LayerNorm(width)
        self.spatial = SpatialAttention(preset)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, preset.mlp_ratio * width),
            nn.GELU(),
            nn.Linear(preset.mlp_ratio * width, width),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Map `(B, T+1, N, C)` to the same shape."""
        moved = self.temporal(self.norm_temporal(tokens))
        tokens = self.spatial(self.norm_spatial(moved)) + tokens
        return self.mlp(self.norm_mlp(tokens)) + tokens

    def forward_class_token(self, tokens: Tensor) -> Tensor:
        """Compute only token (0, 0) of the output: `(B, T+1, N, C)` to `(B, C)`.

        Exact if nothing else of the output is used, as in the last block.
        """
        moved = self.temporal.forward_temporal_row(self.norm_temporal(tokens))
        token = self.spatial.forward_class_token(self.norm_spatial(moved)) + tokens[:, 0, 0]
        return self.mlp(self.norm_mlp(token)) + token


class CheckpointedBlock(TransformerBlock):
    """A block that keeps only its input and recomputes its activations for the gradients."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Map `(B, T+1, N, C)` to the same shape."""
        if not torch.is_grad_enabled():
            return super().forward(tokens)
        return _checkpoint(super().forward, tokens)

    def forward_class_token(self, tokens: Tensor) -> Tensor:
        """Map `(B, T+1, N, C)` to token (0, 0) of the output, `(B, C)`."""
        if not torch.is_grad_enabled():
            return super().forward_class_token(tokens)
        return _checkpoint(super().forward_class_token, tokens)


def _checkpoint(function: object, tokens: Tensor) -> Tensor:
    # A block draws no random numbers, so no generator state needs restoring.
    result: Tensor = checkpoint(function, tokens, use_reentrant=False, preserve_rng_state=False)
    return result
