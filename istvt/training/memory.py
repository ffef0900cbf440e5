"""Activation checkpointing: memory for arithmetic, block by block."""

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from istvt.models.istvt.block import TransformerBlock
from istvt.models.istvt.model import ISTVT


class CheckpointedBlock(TransformerBlock):
    """A block that keeps only its input and computes its inside again for the gradients."""

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


def checkpoint_blocks(model: ISTVT) -> None:
    """Let every block of a model do so, in place; parameters, names and results stay.

    The encoder is left alone: computed twice, its batch norm would count a batch twice.
    """
    for block in model.blocks:
        block.__class__ = CheckpointedBlock


def _checkpoint(function: object, tokens: Tensor) -> Tensor:
    # A block draws no random numbers, so there is no generator to put back.
    result: Tensor = checkpoint(function, tokens, use_reentrant=False, preserve_rng_state=False)
    return result
