"""Score windows of faces with ISTVT.

Source: Zhao et al., ISTVT: Interpretable Spatial-Temporal Video Transformer for Deepfake
Detection, IEEE TIFS 18, 2023.
"""

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from istvt.errors import UsageError
from istvt.models.base import AttentionKernel, VideoModel
from istvt.models.istvt.attention import attention_kernels
from istvt.models.istvt.block import CheckpointedBlock, TransformerBlock
from istvt.models.istvt.folded import FoldedEncoder
from istvt.models.istvt.xception import EntryFlow
from istvt.presets import ModelPreset


class TokenEmbedding(nn.Module):
    """Adds the two learnt class tokens and the position embedding.

    Source: Zhao et al., ISTVT, IEEE TIFS 2023. The space token is put first in every frame. Then
    the position embedding is added. Last, the temporal row is put before the frames, without a
    position embedding.
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


class ISTVT(VideoModel):
    """The whole model; its features are patches `(h*w, C)`."""

    preset: ModelPreset
    no_weight_decay = frozenset({"space_token", "temporal_token", "pos_embedding"})

    def __init__(self, preset: ModelPreset) -> None:
        super().__init__(preset)
        self.encoder = EntryFlow(preset)
        self.tokens = TokenEmbedding(preset)
        self.blocks = nn.ModuleList(TransformerBlock(preset) for _ in range(preset.depth))
        self.norm = nn.LayerNorm(preset.embed_dim)
        self.head = nn.Sequential(nn.LayerNorm(preset.embed_dim), nn.Linear(preset.embed_dim, 1))

    def encode(self, faces: Tensor) -> Tensor:
        """See `VideoModel.encode`."""
        images = self.normalise(faces, self.encoder.conv1.weight.dtype)
        return self.encoder(images).flatten(2).transpose(1, 2)

    def score(
        self, features: Tensor, mask: Tensor | None = None, *, last_block_in_full: bool = False
    ) -> Tensor:
        """See `VideoModel.score`.

        Args:
            features: `(m, T, h*w, C)`.
            mask: None, since the position embedding and the frame differences need all T frames.
            last_block_in_full: compute every token of the last block; the result is the same,
                since only token (0, 0) is read.
        """
        self.check_features(features)
        if mask is not None:
            raise UsageError("istvt takes no mask: each of its windows needs all its frames")
        tokens = self.tokens(features)
        for block in self.blocks[:-1]:
            tokens = block(tokens)
        last: TransformerBlock = self.blocks[-1]  # type: ignore[assignment]
        token = last(tokens)[:, 0, 0] if last_block_in_full else last.forward_class_token(tokens)
        return self.head(self.norm(token)).squeeze(-1)

    def score_in_full(self, features: Tensor) -> Tensor:
        """See `HasShortcut`."""
        return self.score(features, last_block_in_full=True)

    def attention_kernels(
        self, *, temporal: AttentionKernel | None = None, spatial: AttentionKernel | None = None
    ) -> AbstractContextManager[None]:
        """See `HasAttention`."""
        return attention_kernels(self, temporal=temporal, spatial=spatial)

    def zero_qkv(self) -> Tensor:
        """See `HasAttention`: `(1, T+1, N, 3, heads, head_dim)`."""
        preset = self.preset
        rows, columns = preset.num_frames + 1, preset.num_patches + 1
        weight = self.tokens.pos_embedding
        return weight.new_zeros(1, rows, columns, 3, preset.num_heads, preset.head_dim)

    def folded_encoder(self) -> FoldedEncoder:
        """See `FoldsEncoder`."""
        return FoldedEncoder(self.encoder)

    def keep_head_in_fp32(self) -> None:
        """See `HasFp32Head`."""
        self.norm.float()
        self.head.float()
        self.norm.register_forward_pre_hook(lambda layer, values: (values[0].float(),))

    def checkpoint_blocks(self) -> None:
        """See `CheckpointsBlocks`.

        The encoder is not checkpointed: recomputing it would update its batch norm twice.
        """
        for block in self.blocks:
            block.__class__ = CheckpointedBlock
