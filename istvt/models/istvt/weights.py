"""Translate foreign state dicts into ours by name and shape, dropping nothing silently.

Source of the names: the ISTVT authors' published code (489 entries), and the Xception weights that
timm calls `legacy_xception` (276 entries). Both hold a whole Xception; ISTVT uses its conv1 to
block3.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from istvt.errors import WeightsError
from istvt.models.istvt.model import ISTVT
from istvt.models.istvt.xception import EntryFlow
from istvt.presets import ISTVT_PRESETS, PAPER, ModelPreset

# Our name -> the foreign tensors that make it up, stacked along axis 0, and their shapes.
Layout: TypeAlias = dict[str, dict[str, tuple[int, ...]]]

BEYOND_BLOCK3 = r"(block([4-9]|1[0-2])|(conv|bn)[34]|fc|last_linear)\."
NAMES_SHOWN = 12

OUTSIDE_BLOCKS = {
    "encoder": "xcep.model",
    "tokens": "vit",
    "norm": "vit.transformer.norm",
    "head": "vit.mlp_head",
}
INSIDE_BLOCK = {
    "norm_temporal": "0.norm",
    "temporal.qkv": "0.fn.to_qkv",
    "temporal.proj": "0.fn.to_out.0",
    "norm_spatial": "1.norm",
    "spatial.qkv": "1.fn.to_qkv",
    "spatial.proj": "1.fn.to_out.0",
    "norm_mlp": "2.norm",
    "mlp.0": "2.fn.net.0",
    "mlp.2": "2.fn.net.3",
}


@dataclass(frozen=True, eq=False)
class ImportedWeights:
    """A translated state dict, and what happened to every foreign tensor.

    Attributes:
        state_dict: complete, under our names; loads with `strict=True`.
        used: foreign names of the tensors used.
        ignored: foreign names of the Xception layers that ISTVT lacks.
    """

    state_dict: dict[str, Tensor]
    used: tuple[str, ...]
    ignored: tuple[str, ...]


def from_authors(state: Mapping[str, Tensor], preset: ModelPreset) -> ImportedWeights:
    """Translate the state dict of the authors' model.

    Args:
        state: tensors under the authors' names, with or without the prefix of `DataParallel`.
        preset: sets the shapes; `preset_of_authors` finds it from the weights.

    Raises:
        WeightsError: a tensor is missing, unknown, of another shape or not finite.
    """
    layout = {name: _authors_parts(name, shape) for name, shape in _shapes(ISTVT, preset).items()}
    return _translate(state, layout, unused=r"xcep\.model\." + BEYOND_BLOCK3, preset=preset)


def xception_from_timm(state: Mapping[str, Tensor], preset: ModelPreset = PAPER) -> ImportedWeights:
    """Extract the entry flow of timm's `legacy_xception`, for `model.encoder`.

    Those weights were trained on pixels in [-1, 1] (mean = std = 0.5), which the encoder expects.

    Raises:
        WeightsError: a tensor is missing, unknown, of another shape or not finite.
    """
    layout = {name: {name: shape} for name, shape in _shapes(EntryFlow, preset).items()}
    return _translate(state, layout, unused=BEYOND_BLOCK3, preset=preset)


def preset_of_authors(state: Mapping[str, Tensor]) -> ModelPreset:
    """Find the preset that matches the frames, patches, width and depth of these weights.

    Raises:
        WeightsError: they are not from the authors' model, or their size matches no preset.
    """
    state = _without_data_parallel(state)
    position = state.get("vit.pos_embedding")
    if not isinstance(position, Tensor) or position.ndim != 4:
        raise WeightsError(
            "these are not ISTVT weights under the authors' names: no 4-D vit.pos_embedding "
            f"among {_listed(state) or 'no names at all'}"
        )
    frames, patches, width = position.shape[1], position.shape[2] - 1, position.shape[3]
    depth = sum(f"vit.transformer.layers.{i}.0.norm.weight" in state for i in range(len(state)))
    for preset in ISTVT_PRESETS:
        sizes = (preset.num_frames, preset.num_patches, preset.embed_dim, preset.depth)
        if sizes == (frames, patches, width, depth):
            return preset
    raise WeightsError(
        f"no preset has {frames} frames of {patches} patches, width {width} and {depth} blocks: "
        "pass a ModelPreset of that size to from_authors"
    )


def _shapes(module: type[nn.Module], preset: ModelPreset) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {name: tuple(x.shape) for name, x in module(preset).state_dict().items()}


def _authors_parts(name: str, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    theirs = _authors_name(name)
    if not name.endswith("temporal.qkv.weight"):
        return {theirs: shape}
    inner_dim, width = shape[0] // 3, shape[1]
    return {
        theirs.replace("to_qkv", "to_qk"): (2 * inner_dim, width),
        theirs.replace("to_qkv", "to_v"): (inner_dim, width),
    }


def _authors_name(name: str) -> str:
    part, rest = name.split(".", 1)
    if part != "blocks":
        return f"{OUTSIDE_BLOCKS[part]}.{rest}"
    index, rest = rest.split(".", 1)
    layer, parameter = rest.rsplit(".", 1)
    return f"vit.transformer.layers.{index}.{INSIDE_BLOCK[layer]}.{parameter}"


def _translate(
    state: Mapping[str, Tensor], layout: Layout, *, unused: str, preset: ModelPreset
) -> ImportedWeights:
    state = _without_data_parallel(state)
    expected = {name: shape for parts in layout.values() for name, shape in parts.items()}
    ignored = tuple(name for name in state if re.match(unused, name))
    problems = _problems(state, expected, ignored)
    if problems:
        raise WeightsError(f"the weights do not fit preset {preset.name!r}: " + "; ".join(problems))
    return ImportedWeights(
        state_dict={name: _assembled(state, list(parts)) for name, parts in layout.items()},
        used=tuple(name for name in state if name in expected),
        ignored=ignored,
    )


def _problems(
    state: Mapping[str, Tensor],
    expected: Mapping[str, tuple[int, ...]],
    ignored: tuple[str, ...],
) -> list[str]:
    found = {
        "missing": [n for n in expected if n not in state and not _is_counter(n)],
        "unknown": sorted(state.keys() - expected.keys() - set(ignored)),
        "of another shape": [
            f"{n} {tuple(state[n].shape)} instead of {shape}"
            for n, shape in expected.items()
            if n in state and tuple(state[n].shape) != shape
        ],
        "not finite": [n for n in expected if n in state and not state[n].isfinite().all()],
    }
    return [f"{len(names)} {kind}: {_listed(names)}" for kind, names in found.items() if names]


def _assembled(state: Mapping[str, Tensor], names: list[str]) -> Tensor:
    if len(names) > 1:
        return torch.cat([state[name] for name in names])
    if names[0] not in state:
        return torch.tensor(0)  # num_batches_tracked: PyTorch before 0.4.1 did not store it
    return state[names[0]]


def _is_counter(name: str) -> bool:
    return name.endswith(".num_batches_tracked")


def _without_data_parallel(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    prefix = "module." if all(name.startswith("module.") for name in state) else ""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items()}


def _listed(names: Iterable[str]) -> str:
    given = list(names)
    more = len(given) - NAMES_SHOWN
    return ", ".join(given[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
