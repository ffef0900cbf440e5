"""Build the model that a configuration names, and keep its weights in a run folder."""

import json
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from istvt.errors import ModelNotFoundError, UsageError, WeightsError
from istvt.extras import require
from istvt.files import atomic_file
from istvt.models.base import VideoModel
from istvt.models.istvt.model import ISTVT
from istvt.models.mesonet import MesoNet
from istvt.presets import MesoNetPreset, ModelConfig, ModelPreset
from istvt.records import UInt8Array

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "weights.safetensors"
SAMPLE_WINDOWS_FILE = "sample_windows.npz"


def build_model(config: ModelConfig) -> VideoModel:
    """Build a model with fresh weights.

    Raises:
        UsageError: the preset holds a shape that the model cannot have.
    """
    match config.preset:
        case ModelPreset() as preset:
            return ISTVT(preset)
        case MesoNetPreset() as preset:
            return MesoNet(preset)


def save_run(folder: Path, model: VideoModel, config: ModelConfig) -> None:
    """Write the weights and their configuration, each file atomically."""
    save_weights(folder / WEIGHTS_FILE, model)
    save_config(folder / CONFIG_FILE, config)


def save_config(path: Path, config: ModelConfig) -> None:
    """Write `config.json`."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(config.to_dict(), indent=2) + "\n")


def load_run(folder: Path) -> tuple[VideoModel, ModelConfig]:
    """Read a run back, in evaluation mode, on the CPU.

    Raises:
        ModelNotFoundError: the folder holds no run.
        WeightsError: the weights do not fit the configuration.
    """
    config = load_config(folder / CONFIG_FILE)
    return load_model(folder / WEIGHTS_FILE, config), config


def load_config(path: Path) -> ModelConfig:
    """Read `config.json`.

    Raises:
        ModelNotFoundError: there is no such file.
        UsageError: it is not a configuration.
    """
    if not path.is_file():
        raise ModelNotFoundError(
            f"{path.parent} is not a run: it has no {path.name}; `istvt train` makes runs"
        )
    try:
        values: Any = json.loads(path.read_text())
    except ValueError as error:
        raise UsageError(f"{path} is not JSON: {error}") from error
    try:
        return ModelConfig.from_dict(values)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def save_weights(path: Path, model: VideoModel) -> None:
    """Write a model's parameters and batch-norm statistics as safetensors."""
    safetensors = require("safetensors.torch", extra="cpu")
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    with atomic_file(path) as temporary:
        safetensors.save_file(tensors, temporary, metadata={"format": "pt"})


def load_model(path: Path, config: ModelConfig) -> VideoModel:
    """Build the model of a configuration and fill it from a safetensors file.

    Raises:
        WeightsError: the file is missing, or names or shapes differ.
    """
    safetensors = require("safetensors.torch", extra="cpu")
    if not path.is_file():
        raise WeightsError(f"{path} is missing: it must hold the model's weights")
    model = build_model(config)
    try:
        model.load_state_dict(safetensors.load_file(path), strict=True)
    except Exception as error:
        raise WeightsError(f"{path} does not fit preset {config.preset.name!r}: {error}") from error
    return model.eval()


def save_sample_windows(folder: Path, faces: UInt8Array) -> None:
    """Save a few held-out windows `(m, T, S, S, 3)` in the run, for the exports' parity check."""
    with atomic_file(folder / SAMPLE_WINDOWS_FILE) as temporary:
        np.savez_compressed(temporary, faces=faces)


def load_sample_windows(folder: Path) -> UInt8Array | None:
    """Read the run's held-out windows back; None if it has none.

    Raises:
        UsageError: the file is damaged.
    """
    path = folder / SAMPLE_WINDOWS_FILE
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            faces: UInt8Array = arrays["faces"]
    except (ValueError, KeyError, OSError, BadZipFile) as error:
        raise UsageError(f"{path} is damaged ({error}): delete it or train again") from error
    return faces
