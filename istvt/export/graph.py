"""A trained model in, its two ONNX graphs out: `encoder.onnx` and `window.onnx`.

- encoder: `faces (n, S, S, 3) uint8 -> features (n, h*w, C)`; the normalisation and every batch
  norm are folded into the convolutions.
- window: `features (m, T, h*w, C) -> logits (m,)`; each attention is one `istvt` node, except in
  the last block.
"""

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from istvt.kernels.functions import (
    STANDARD_OPSET,
    append_bodies,
    inline_bodies,
    self_subtract_attention_node,
    spatial_attention_node,
)
from istvt.models.istvt.attention import attention_kernels
from istvt.models.istvt.model import ISTVT, PIXEL_OFFSET, PIXEL_SCALE
from istvt.models.istvt.xception import Block, EntryFlow, SeparableConv


class EncoderGraph(nn.Module):
    """The encoder as the host calls it: raw pixels in, patch features out."""

    def __init__(self, encoder: EntryFlow) -> None:
        super().__init__()
        self.encoder = fold_encoder(encoder)

    def forward(self, faces: Tensor) -> Tensor:
        """Map `(n, S, S, 3)` uint8 to `(n, h*w, C)`."""
        pixels = faces.to(self.encoder.conv1.weight.dtype)  # first: TensorRT moves no uint8 about
        images = pixels.permute(0, 3, 1, 2)
        return self.encoder(images).flatten(2).transpose(1, 2)


class WindowGraph(nn.Module):
    """The transformer as the host calls it."""

    def __init__(self, model: ISTVT) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: Tensor) -> Tensor:
        """Map `(m, T, h*w, C)` to `(m,)`."""
        return self.model.score(features)


def export_encoder(model: ISTVT, path: Path) -> None:
    """Write `encoder.onnx`, weights inside."""
    size = model.preset.image_size
    faces = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    graph = EncoderGraph(model.encoder).eval()
    program = _trace(graph, faces, batch="n", names=("faces", "features"))
    program.save(path, external_data=False)


def export_window(model: ISTVT, path: Path, *, inlined: Path) -> None:
    """Write `window.onnx`, its weights beside it in `window.onnx.data`.

    Args:
        model: in evaluation mode.
        path: of the graph with our nodes and their bodies.
        inlined: of a copy without our nodes, in the same folder, sharing the weights; for
            runtimes that know no local functions.
    """
    preset = model.preset
    features = torch.zeros(2, preset.num_frames, preset.num_patches, preset.embed_dim)
    with attention_kernels(
        model, temporal=self_subtract_attention_node, spatial=spatial_attention_node
    ):
        program = _trace(WindowGraph(model), features, batch="m", names=("features", "logits"))
    program.save(path, external_data=True)
    graph = onnx.load(path, load_external_data=False)
    append_bodies(graph)
    onnx.save(graph, path)
    onnx.save(inline_bodies(graph), inlined)


def fold_encoder(encoder: EntryFlow) -> EntryFlow:
    """Copy the encoder with batch norms and pixel normalisation folded into its convolutions.

    The copy takes pixels in 0 to 255. Exact up to rounding: conv1 has no padding, so the
    normalisation's offset is the same at every position.
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


def _trace(
    module: nn.Module, example: Tensor, *, batch: str, names: tuple[str, str]
) -> torch.onnx.ONNXProgram:
    with _quiet_exporter(), torch.no_grad():
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            opset_version=STANDARD_OPSET,
            input_names=[names[0]],
            output_names=[names[1]],
            dynamic_shapes=({0: batch},),
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    return program


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep the exporter's advice on its own internals away from the user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
