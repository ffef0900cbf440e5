"""State dicts in the layout of the authors' code and of timm's Xception, with random values.

Names and shapes are written down here once more, from the facts about that code and from Chollet's
architecture, so that the importer is not tested against itself.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from istvt.presets import ModelPreset

Shapes = dict[str, tuple[int, ...]]

MIDDLE_BLOCKS = range(4, 12)


def xception_shapes(preset: ModelPreset, *, in_full: bool, classifier: str = "fc") -> Shapes:
    """All of Xception (276 entries at the published widths), or conv1 ... block3 alone."""
    first, second, third, fourth = preset.encoder_widths
    width = preset.embed_dim
    shapes: Shapes = {
        "conv1.weight": (first, 3, 3, 3),
        **_norm("bn1", first),
        "conv2.weight": (second, first, 3, 3),
        **_norm("bn2", second),
        **_block("block1", [(0, second, third), (3, third, third)], skip=(second, third)),
        **_block("block2", [(1, third, fourth), (4, fourth, fourth)], skip=(third, fourth)),
        **_block("block3", [(1, fourth, width), (4, width, width)], skip=(fourth, width)),
    }
    if in_full:
        for i in MIDDLE_BLOCKS:
            shapes |= _block(f"block{i}", [(n, width, width) for n in (1, 4, 7)], skip=None)
        shapes |= _block("block12", [(1, width, width), (4, width, 1024)], skip=(width, 1024))
        shapes |= _separable("conv3", 1024, 1536) | _norm("bn3", 1536)
        shapes |= _separable("conv4", 1536, 2048) | _norm("bn4", 2048)
        shapes |= {f"{classifier}.weight": (2, 2048), f"{classifier}.bias": (2,)}
    return shapes


def authors_shapes(preset: ModelPreset, *, in_full: bool = False) -> Shapes:
    """The whole model; `in_full` with the Xception layers that it does not use (489 entries)."""
    width, inner = preset.embed_dim, preset.num_heads * preset.head_dim
    hidden = preset.mlp_ratio * width
    xception = xception_shapes(preset, in_full=in_full, classifier="last_linear")
    shapes = {f"xcep.model.{name}": shape for name, shape in xception.items()}
    shapes["vit.pos_embedding"] = (1, preset.num_frames, preset.num_patches + 1, width)
    shapes["vit.space_token"] = shapes["vit.temporal_token"] = (1, 1, width)
    for i in range(preset.depth):
        layer = f"vit.transformer.layers.{i}"
        for part in range(3):
            shapes |= _affine(f"{layer}.{part}.norm", width)
        shapes[f"{layer}.0.fn.to_qk.weight"] = (2 * inner, width)
        shapes[f"{layer}.0.fn.to_v.weight"] = (inner, width)
        shapes[f"{layer}.1.fn.to_qkv.weight"] = (3 * inner, width)
        for part in (0, 1):
            shapes |= _affine(f"{layer}.{part}.fn.to_out.0", width, inner)
        shapes |= _affine(f"{layer}.2.fn.net.0", hidden, width)
        shapes |= _affine(f"{layer}.2.fn.net.3", width, hidden)
    shapes |= _affine("vit.transformer.norm", width) | _affine("vit.mlp_head.0", width)
    return shapes | _affine("vit.mlp_head.1", 1, width)


def random_state(shapes: Shapes, *, seed: int) -> dict[str, Tensor]:
    """Values for which no parameter is without effect: no zeros, no ones, sharp attention."""
    generator = torch.Generator().manual_seed(seed)
    return dict(_random_tensors(shapes, generator))


def constant_state(shapes: Shapes) -> dict[str, Tensor]:
    """One number a tensor, all different, stored once each: a big state dict in little memory."""
    return {
        name: torch.tensor(0)
        if name.endswith("num_batches_tracked")
        else torch.tensor((i + 1) / 1000).expand(shape)
        for i, (name, shape) in enumerate(shapes.items())
    }


def _random_tensors(shapes: Shapes, generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
    for name, shape in shapes.items():
        normal = torch.randn(shape, generator=generator)
        if name.endswith("num_batches_tracked"):
            yield name, torch.tensor(7)
        elif name.endswith("running_var"):
            yield name, 0.5 + torch.rand(shape, generator=generator)
        elif len(shape) == 1:
            near_one = name.endswith("weight")
            yield name, 0.3 * normal + (1.0 if near_one else 0.0)
        elif "token" in name or "pos_embedding" in name:
            yield name, 0.5 * normal
        else:
            fan_in = normal[0].numel()
            gain = 2.0 if ".fn.to_q" in name else 1.3
            yield name, gain * normal / fan_in**0.5


def _norm(name: str, width: int) -> Shapes:
    statistics = {f"{name}.{part}": (width,) for part in ("running_mean", "running_var")}
    return _affine(name, width) | statistics | {f"{name}.num_batches_tracked": ()}


def _affine(name: str, width: int, *in_features: int) -> Shapes:
    return {f"{name}.weight": (width, *in_features), f"{name}.bias": (width,)}


def _separable(name: str, in_chans: int, out_chans: int) -> Shapes:
    return {
        f"{name}.conv1.weight": (in_chans, 1, 3, 3),
        f"{name}.pointwise.weight": (out_chans, in_chans, 1, 1),
    }


def _block(
    name: str, separables: list[tuple[int, int, int]], *, skip: tuple[int, int] | None
) -> Shapes:
    shapes: Shapes = {}
    for position, in_chans, out_chans in separables:
        shapes |= _separable(f"{name}.rep.{position}", in_chans, out_chans)
        shapes |= _norm(f"{name}.rep.{position + 1}", out_chans)
    if skip is not None:
        shapes[f"{name}.skip.weight"] = (skip[1], skip[0], 1, 1)
        shapes |= _norm(f"{name}.skipbn", skip[1])
    return shapes
