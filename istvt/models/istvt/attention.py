"""Attend over time within a column, then over space within a row.

Source: Zhao et al., ISTVT, IEEE TIFS 2023 (decomposed attention).

Rows are the temporal token and the T frames; columns are the space token and the patches. Queries
and keys of the temporal attention are differences of consecutive frames. Its projection has no
bias, so taking the difference after it is exact.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from istvt.models.base import AttentionKernel
from istvt.presets import ModelPreset


def self_subtract(rows: Tensor, *, time_dim: int = 1) -> Tensor:
    """Keep rows 0 and 1, and replace each later row by its difference from the previous one.

    Args:
        rows: any shape with T+1 rows along `time_dim`.
        time_dim: the axis of the rows.

    Returns:
        The same shape.
    """
    kept = rows.narrow(time_dim, 0, 2)
    later = rows.narrow(time_dim, 2, rows.shape[time_dim] - 2)
    before = rows.narrow(time_dim, 1, rows.shape[time_dim] - 2)
    return torch.cat([kept, later - before], dim=time_dim)


def attend_over_time(qkv: Tensor) -> Tensor:
    """Let each token attend to its own column, with self-subtracted queries and keys.

    This is the body of the ONNX node `istvt::SelfSubtractAttention`.

    Args:
        qkv: `(B, T+1, N, 3, heads, head_dim)`, projected from the plain tokens.

    Returns:
        Mixed values `(B, T+1, N, heads * head_dim)`.
    """
    queries, keys, values = qkv.permute(3, 0, 2, 4, 1, 5).unbind(0)  # (B, N, heads, T+1, head_dim)
    columns = queries.shape[:2]
    # PyTorch's fused kernels take four axes: (B*N, heads, T+1, head_dim).
    mixed = scaled_dot_product_attention(
        self_subtract(queries, time_dim=3).flatten(0, 1),
        self_subtract(keys, time_dim=3).flatten(0, 1),
        values.flatten(0, 1),
    )
    return mixed.unflatten(0, columns).permute(0, 3, 1, 2, 4).flatten(3)


def attend_over_space(qkv: Tensor) -> Tensor:
    """Let each token attend to its own row.

    This is the body of the ONNX node `istvt::SpatialAttention`.

    Args:
        qkv: `(B, T+1, N, 3, heads, head_dim)`.

    Returns:
        Mixed values `(B, T+1, N, heads * head_dim)`.
    """
    batch, rows = qkv.shape[:2]
    queries, keys, values = qkv.flatten(0, 1).permute(2, 0, 3, 1, 4).unbind(0)
    mixed = scaled_dot_product_attention(queries, keys, values)  # (B*(T+1), heads, N, head_dim)
    return mixed.transpose(1, 2).flatten(2).unflatten(0, (batch, rows))


class Attention(nn.Module):
    """The projections around one attention: without bias before it, with a bias after it."""

    def __init__(self, preset: ModelPreset) -> None:
        super().__init__()
        self.num_heads, self.head_dim = preset.num_heads, preset.head_dim
        self.qkv = nn.Linear(preset.embed_dim, 3 * preset.inner_dim, bias=False)
        self.proj = nn.Linear(preset.inner_dim, preset.embed_dim)

    def project_qkv(self, tokens: Tensor) -> Tensor:
        """Map `(..., C)` to `(..., 3, heads, head_dim)`."""
        return self.qkv(tokens).unflatten(-1, (3, self.num_heads, self.head_dim))

    def project_query(self, tokens: Tensor) -> Tensor:
        """Map `(..., C)` to queries `(..., heads, head_dim)`."""
        weight = self.qkv.weight[: self.num_heads * self.head_dim]
        return nn.functional.linear(tokens, weight).unflatten(-1, (self.num_heads, self.head_dim))

    def project_key_value(self, tokens: Tensor) -> Tensor:
        """Map `(..., C)` to keys and values `(..., 2, heads, head_dim)`."""
        weight = self.qkv.weight[self.num_heads * self.head_dim :]
        projected = nn.functional.linear(tokens, weight)
        return projected.unflatten(-1, (2, self.num_heads, self.head_dim))


class TemporalAttention(Attention):
    """Attention over the rows of each column."""

    def __init__(self, preset: ModelPreset) -> None:
        super().__init__(preset)
        self.attend: AttentionKernel = attend_over_time

    def forward(self, tokens: Tensor) -> Tensor:
        """Map normalised tokens `(B, T+1, N, C)` to the same shape."""
        return self.proj(self.attend(self.project_qkv(tokens)))

    def forward_temporal_row(self, tokens: Tensor) -> Tensor:
        """Compute only what row 0 receives: `(B, T+1, N, C)` to `(B, N, C)`."""
        queries = self.project_query(tokens[:, 0]).unsqueeze(3)  # (B, N, heads, 1, head_dim)
        keys, values = self.project_key_value(tokens).permute(3, 0, 2, 4, 1, 5).unbind(0)
        logits = queries @ self_subtract(keys, time_dim=3).transpose(-1, -2) * self.head_dim**-0.5
        return self.proj((logits.softmax(-1) @ values).flatten(2))


class SpatialAttention(Attention):
    """Attention over the columns of each row."""

    def __init__(self, preset: ModelPreset) -> None:
        super().__init__(preset)
        self.attend: AttentionKernel = attend_over_space

    def forward(self, tokens: Tensor) -> Tensor:
        """Map normalised tokens `(B, T+1, N, C)` to the same shape."""
        return self.proj(self.attend(self.project_qkv(tokens)))

    def forward_class_token(self, tokens: Tensor) -> Tensor:
        """Compute only what column 0 of one row receives: `(B, N, C)` to `(B, C)`."""
        queries = self.project_query(tokens[:, :1]).transpose(1, 2)  # (B, heads, 1, head_dim)
        keys, values = self.project_key_value(tokens).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = scaled_dot_product_attention(queries, keys, values)
        return self.proj(mixed.flatten(1))


@contextmanager
def attention_kernels(
    model: nn.Module,
    *,
    temporal: AttentionKernel | None = None,
    spatial: AttentionKernel | None = None,
) -> Iterator[None]:
    """Replace the model's attention kernels while the block runs.

    Args:
        model: the model whose attentions change.
        temporal: replaces `attend_over_time`; None keeps it.
        spatial: replaces `attend_over_space`; None keeps it.
    """
    before: list[tuple[TemporalAttention | SpatialAttention, AttentionKernel]] = []
    for layer in model.modules():
        kernel = temporal if isinstance(layer, TemporalAttention) else spatial
        if isinstance(layer, TemporalAttention | SpatialAttention) and kernel is not None:
            before.append((layer, layer.attend))
            layer.attend = kernel
    try:
        yield
    finally:
        for layer, kernel in before:
            layer.attend = kernel
