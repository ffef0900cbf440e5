"""Load the weights that a training starts from into a new model."""

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from istvt.errors import MissingExtraError, RuntimeEnvironmentError, UsageError, WeightsError
from istvt.models.base import VideoModel
from istvt.models.istvt.model import ISTVT
from istvt.models.istvt.weights import (
    ImportedWeights,
    from_authors,
    preset_of_authors,
    xception_from_timm,
)
from istvt.models.load import CONFIG_FILE, load_run, save_run
from istvt.presets import CropRecipe, ModelConfig, ModelPreset, Preset

logger = logging.getLogger(__name__)

STATE_DICT_KEYS = ("state_dict", "model_state_dict", "model", "net")


@dataclass(frozen=True)
class ImportReport:
    """What an import used, and what it left out.

    Attributes:
        run: the folder that now holds the model.
        used: the tensors of the file that are in the model.
        ignored: the tensors of Xception layers that ISTVT does not have.
    """

    run: Path
    preset: ModelPreset
    used: tuple[str, ...]
    ignored: tuple[str, ...]


def import_authors(pth: Path, out: Path) -> ImportReport:
    """Turn a checkpoint of the authors' code into a run folder.

    The preset is derived from the shapes; crop and sampling are the paper's.

    Raises:
        WeightsError: the file is missing, not a checkpoint, or not of this model.
        UsageError: `out` already holds a run.
    """
    if (out / CONFIG_FILE).exists():
        raise UsageError(f"{out} already holds a run: name another folder, or remove it first")
    state = read_state_dict(pth)
    preset = preset_of_authors(state)
    imported = from_authors(state, preset)
    model = ISTVT(preset)
    model.load_state_dict(imported.state_dict, strict=True)
    save_run(out, model, ModelConfig(preset=preset, crop=CropRecipe(size_px=preset.image_size)))
    logger.info("%s: %d tensors used, %d ignored", pth, len(imported.used), len(imported.ignored))
    return ImportReport(out, preset, imported.used, imported.ignored)


def load_xception_imagenet(model: ISTVT) -> ImportedWeights:
    """Fill the encoder with ImageNet weights from timm, which downloads them once.

    Raises:
        MissingExtraError: timm is not installed.
        RuntimeEnvironmentError: timm cannot be imported, or cannot fetch the weights.
        WeightsError: they do not fit the encoder, which must have the paper's widths.
    """
    try:
        import timm
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        raise MissingExtraError("timm is needed here: pip install timm") from error
    except Exception as error:  # torchvision raises errors of many types
        raise RuntimeEnvironmentError(
            f"timm is installed but cannot be imported ({error}): install the torchvision that "
            f"belongs to torch {torch.__version__}"
        ) from error
    try:
        xception = timm.create_model("legacy_xception", pretrained=True)
    except Exception as error:  # network, cache and hub each raise their own types
        raise RuntimeEnvironmentError(
            f"timm could not provide the weights of legacy_xception: {error}"
        ) from error
    imported = xception_from_timm(xception.state_dict(), model.preset)
    model.encoder.load_state_dict(imported.state_dict, strict=True)
    return imported


def read_state_dict(pth: Path) -> dict[str, Tensor]:
    """Read tensors, and nothing else, from a file of `torch.save`.

    Args:
        pth: holds a state dict, or a checkpoint with one under `STATE_DICT_KEYS`.

    Raises:
        WeightsError: the file is missing, not a checkpoint, or would run code when read.
    """
    if not pth.is_file():
        raise WeightsError(f"{pth} is not a file: expected a checkpoint written by torch.save")
    content = _load_tensors_only(pth)
    candidates = [content]
    if isinstance(content, dict):
        candidates += [content[key] for key in STATE_DICT_KEYS if key in content]
    for candidate in candidates:
        if _is_state_dict(candidate):
            return dict(candidate)
    raise WeightsError(
        f"{pth} holds {_described(content)}: expected a state dict, or a dict with one under "
        + ", ".join(map(repr, STATE_DICT_KEYS))
    )


def _load_tensors_only(pth: Path) -> Any:
    try:
        return torch.load(pth, weights_only=True, map_location="cpu")
    except UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        if found is None:
            raise WeightsError(f"{pth} is not a checkpoint written by torch.save") from error
        raise WeightsError(
            f"{pth} holds a pickled {found[1]}, and reading it would run code from the file. Where "
            "you trust the file, load it with the program that wrote it and save only its tensors: "
            "torch.save(model.state_dict(), 'weights.pth')"
        ) from error
    except Exception as error:  # reading other files fails with many types of errors
        raise WeightsError(
            f"{pth} is not a whole checkpoint written by torch.save ({type(error).__name__})"
        ) from error


def _is_state_dict(content: Any) -> bool:
    return (
        isinstance(content, dict)
        and len(content) > 0
        and all(isinstance(name, str) and torch.is_tensor(x) for name, x in content.items())
    )


def _described(content: Any) -> str:
    if isinstance(content, dict):
        return f"a dict with the keys {', '.join(map(str, list(content)[:12])) or '(none)'}"
    return f"a {type(content).__name__}"


IMAGENET = "imagenet"


def load_start(model: VideoModel, start: str) -> None:
    """Fill a model before its training begins, in place.

    Args:
        model: with random weights.
        start: `imagenet` for the encoder's weights from timm, or the folder of a run of the same
            preset, written by `istvt train` or `istvt import-weights`.

    Raises:
        ModelNotFoundError: the folder holds no run.
        WeightsError: the run's model has another shape.
        UsageError: `imagenet` for a model that has no such encoder.
        RuntimeEnvironmentError: timm is missing or cannot fetch the weights.
    """
    if start == IMAGENET:
        if not isinstance(model, ISTVT):
            raise UsageError(
                f"start={start!r} fills ISTVT's encoder: {model.spec.architecture} has no weights "
                "of ImageNet; leave --start out, or name a run of the same preset"
            )
        load_xception_imagenet(model)
        return
    known, config = load_run(Path(start))
    if config.preset != model.preset:
        raise WeightsError(
            f"{start} holds a model of preset {config.preset.name!r} "
            f"({_sizes(config.preset)}); to start "
            f"{model.preset.name!r} from it, both must have the same shape"
        )
    model.load_state_dict(known.state_dict(), strict=True)


def _sizes(preset: Preset) -> str:
    blocks = f", {preset.depth} blocks" if isinstance(preset, ModelPreset) else ""
    return f"{preset.image_size} px{blocks}"
