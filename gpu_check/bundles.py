"""The model's bundle in each precision, written by one check for those that follow."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from gpu_check.result import CannotRunError, Outcome, Settings
from gpu_check.subject import make_model
from istvt.bundle.manifest import Bundle, open_bundle
from istvt.extras import require
from istvt.presets import CropRecipe, ModelConfig

BundlePrecision: TypeAlias = Literal["fp32", "fp16", "bf16"]
PRECISIONS: tuple[BundlePrecision, ...] = get_args(BundlePrecision)


def export(settings: Settings, *, precision: BundlePrecision) -> Outcome:
    """Write the model's bundle for the checks that follow, where there is none yet.

    Raises:
        MissingExtraError: what exports is not installed.
    """
    for module in ("torch", "onnx", "onnxscript", "safetensors"):
        require(module, extra="train")
    from istvt.export.graph import export_encoder, export_window
    from istvt.export.precision import lower_graphs
    from istvt.models.load import save_weights

    folder = bundle_folder(settings, precision)
    if folder.is_dir():
        return Outcome(_size_of(folder), note="an earlier part wrote it")
    preset = settings.preset
    model = make_model(preset)
    unfinished = folder.with_suffix(".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    config = ModelConfig(preset=preset, crop=CropRecipe(size_px=preset.image_size))
    draft = Bundle(folder=unfinished, config=config, precision=precision)
    export_encoder(model, draft.encoder)
    export_window(model, draft.window, inlined=draft.inlined_window)
    save_weights(draft.weights, model)
    if precision != "fp32":
        lower_graphs(draft, precision)
    finished = replace(draft.with_digests(), created="for this check")
    finished.write_manifest()
    unfinished.rename(folder)
    return Outcome(_size_of(folder))


def open_exported(settings: Settings, precision: BundlePrecision) -> Bundle:
    """Open what `export` wrote.

    Raises:
        CannotRunError: it did not get to its end.
    """
    folder = bundle_folder(settings, precision)
    if not folder.is_dir():
        raise CannotRunError(f"there is no bundle: see the check 'export {precision}'")
    return open_bundle(folder)


def _size_of(folder: Path) -> dict[str, float]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {"bundle_mib": sum(path.stat().st_size for path in files) / 2**20}


def bundle_folder(settings: Settings, precision: str) -> Path:
    """Name the bundle of one precision."""
    return Path(settings.work) / f"{settings.preset_name}-{precision}.istvt"
