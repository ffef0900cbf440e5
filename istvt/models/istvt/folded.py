"""Fold the norms and pixel normalisation of ISTVT's encoder into its convolutions, for export."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from istvt.models.base import PIXEL_OFFSET, PIXEL_SCALE
from istvt.models.istvt.xception import Block, EntryFlow, SeparableConv


class FoldedEncoder(nn.Module):
    """The exported encoder: maps raw pixels to patch features."""

    def __init__(self, encoder: EntryFlow) -> None:
        super().__init__()
        self.encoder = fold_encoder(encoder)

    def forward(self, faces: Tensor) -> Tensor:
        """Map `(n, S, S, 3)` uint8 to `(n, h*w, C)`."""
        pixels = faces.to(
            self.encoder.conv1.weight.dtype
        )  # first, since TensorRT cannot permute uint8
        images = pixels.permute(0, 3, 1, 2)
        return self.encoder(images).flatten(2).transpose(1, 2)


def fold_encoder(encoder: EntryFlow) -> EntryFlow:
    """Copy the encoder with batch norms and pixel normalisation folded into its convolutions.

    The copy takes pixels in 0 to 255. The result is exact up to rounding: conv1 has no padding, so
    the normalisation's offset is the same at every position.
    """
    folded = copy.deepcopy(encoder).eval()
    folded.conv1 = _fold_pixels(fuse_conv_bn_eval(folded.conv1, folded.bn1))
    folded.conv2 = fuse_conv_bn_eval(folded.conv2, folded.bn2)
    folded.bn1, folded.bn2 = nn.Identity(), nn.Identity()  # type: ignore[assignment]
    for block in (folded.block1, folded.block2, folded.block3):
        _fold_block(block)
    return folded


def _fold_pixels(conv: nn.Conv2d) -> nn.Conv2d:
    if conv.bias is None:
        raise ValueError("the convolution has no bias: fold the batch norm first")
    with torch.no_grad():
        conv.bias += PIXEL_OFFSET * conv.weight.sum(dim=(1, 2, 3))
        conv.weight *= PIXEL_SCALE
    return conv


def _fold_block(block: Block) -> None:
    block.skip = fuse_conv_bn_eval(block.skip, block.skipbn)
    block.skipbn = nn.Identity()  # type: ignore[assignment]
    for position, layer in enumerate(block.rep):
        follower = block.rep[position + 1] if position + 1 < len(block.rep) else None
        if isinstance(layer, SeparableConv) and isinstance(follower, nn.BatchNorm2d):
            layer.pointwise = fuse_conv_bn_eval(layer.pointwise, follower)
            block.rep[position + 1] = nn.Identity()
