"""Self-subtract attention against its definition, head by head and column by column."""

import pytest
import torch
from torch import Tensor

from istvt.models.istvt.attention import (
    SpatialAttention,
    TemporalAttention,
    attend_over_space,
    attend_over_time,
    self_subtract,
)
from istvt.models.istvt.model import ISTVT
from tests.models.istvt.small import SMALL, random_model


@pytest.fixture(scope="module")
def model() -> ISTVT:
    return random_model(SMALL).double()


def attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    weights = (queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5).softmax(-1)
    return weights @ values


def random_qkv(rows: int) -> Tensor:
    torch.manual_seed(rows)
    return torch.randn(2, rows, 5, 3, 4, 6, dtype=torch.float64)


def test_self_subtract_keeps_two_rows_and_subtracts_the_one_before() -> None:
    rows = torch.tensor([1.0, 10.0, 30.0, 70.0, 60.0])
    assert self_subtract(rows, time_dim=0).tolist() == [1.0, 10.0, 20.0, 40.0, -10.0]
    columns = torch.stack([rows, -rows])
    assert self_subtract(columns).tolist()[1] == [-1.0, -10.0, -20.0, -40.0, 10.0]


@torch.no_grad()
def test_self_subtract_commutes_with_the_projection(model: ISTVT) -> None:
    layer: TemporalAttention = model.blocks[0].temporal  # type: ignore[assignment]
    tokens = torch.randn(2, SMALL.num_frames + 1, 10, SMALL.embed_dim, dtype=torch.float64)
    before = layer.project_qkv(self_subtract(tokens))
    after = self_subtract(layer.project_qkv(tokens))
    torch.testing.assert_close(after, before, rtol=0, atol=1e-12)


@pytest.mark.parametrize("rows", [3, 4, 7, 17])
def test_attention_over_time(rows: int) -> None:
    qkv = random_qkv(rows)
    given = attend_over_time(qkv).unflatten(-1, (4, 6))
    differences = qkv.clone()
    for i in range(2, rows):
        differences[:, i] = qkv[:, i] - qkv[:, i - 1]
    for column in range(5):
        for head in range(4):
            q, k, v = (
                x[:, :, column, i, head]
                for x, i in zip([differences, differences, qkv], range(3), strict=True)
            )
            torch.testing.assert_close(given[:, :, column, head], attention(q, k, v))


@pytest.mark.parametrize("rows", [3, 7])
def test_attention_over_space(rows: int) -> None:
    qkv = random_qkv(rows)
    given = attend_over_space(qkv).unflatten(-1, (4, 6))
    for row in range(rows):
        for head in range(4):
            q, k, v = qkv[:, row, :, :, head].unbind(2)
            torch.testing.assert_close(given[:, row, :, head], attention(q, k, v))


@torch.no_grad()
def test_shortened_layers_equal_the_whole_ones(model: ISTVT) -> None:
    block = model.blocks[0]
    temporal: TemporalAttention = block.temporal  # type: ignore[assignment]
    spatial: SpatialAttention = block.spatial  # type: ignore[assignment]
    tokens = torch.randn(2, SMALL.num_frames + 1, 10, SMALL.embed_dim, dtype=torch.float64)
    torch.testing.assert_close(temporal.forward_temporal_row(tokens), temporal(tokens)[:, 0])
    torch.testing.assert_close(spatial.forward_class_token(tokens[:, 0]), spatial(tokens)[:, 0, 0])
