"""The model's bundle in each precision, written by one check for those that follow."""

from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from istvt.benchmarks.gpu_check.result import CannotRunError, Outcome, Settings
from istvt.benchmarks.gpu_check.subject import make_model
from istvt.export.bundle import Bundle, open_bundle
from istvt.extras import require
from istvt.presets import CropRecipe, ModelConfig

BundlePrecision: TypeAlias = Literal["fp32", "fp16", "bf16"]
PRECISIONS: tuple[BundlePrecision, ...] = get_args(BundlePrecision)


def export(settings: Settings, *, precision: BundlePrecision) -> Outcome:
    """Write the model's bundle for the checks that follow.

    Raises:
        MissingExtraError: what exports is not installed.
    """
    for module in ("torch", "onnx", "onnxscript", "safetensors"):
        require(module, extra="train")
    from istvt.export.graph import export_encoder, export_window
    from istvt.export.precision import lower_graphs
    from istvt.runs import save_weights

    preset = settings.preset
    model = make_model(preset)
    folder = bundle_folder(settings, precision)
    folder.mkdir()
    config = ModelConfig(preset=preset, crop=CropRecipe(size_px=preset.image_size))
    draft = Bundle(folder=folder, config=config, precision=precision)
    export_encoder(model, draft.encoder)
    export_window(model, draft.window, inlined=draft.inlined_window)
    save_weights(draft.weights, model)
    if precision != "fp32":
        lower_graphs(draft, precision)
    finished = replace(draft.with_digests(), created="for this check")
    finished.write_manifest()
    size = sum(path.stat().st_size for path in folder.iterdir())
    return Outcome({"bundle_mib": size / 2**20})


def open_exported(settings: Settings, precision: BundlePrecision) -> Bundle:
    """Open what `export` wrote.

    Raises:
        CannotRunError: it wrote nothing.
    """
    folder = bundle_folder(settings, precision)
    if not folder.is_dir():
        raise CannotRunError(f"there is no bundle: see the check 'export {precision}'")
    return open_bundle(folder)


def bundle_folder(settings: Settings, precision: str) -> Path:
    """Name the bundle of one precision."""
    return Path(settings.work) / f"{settings.preset_name}-{precision}.istvt"
