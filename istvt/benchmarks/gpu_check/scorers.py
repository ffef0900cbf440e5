"""The exported model on each GPU backend: does it keep its promises, what does it say, how fast?"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from istvt.benchmarks.gpu_check.check import Check
from istvt.benchmarks.gpu_check.clock import Work
from istvt.benchmarks.gpu_check.conformance import broken_promises
from istvt.benchmarks.gpu_check.latency import BATCHES, frame_works, measure_frames
from istvt.benchmarks.gpu_check.model import outcome_of
from istvt.benchmarks.gpu_check.result import CannotRunError, Outcome, Settings
from istvt.benchmarks.gpu_check.subject import make_model, make_windows, reference_logits
from istvt.errors import EngineError, IstvtError
from istvt.export.bundle import Bundle, open_bundle
from istvt.export.parity import TOLERANCES, score_windows
from istvt.extras import require
from istvt.presets import CropRecipe, ModelConfig
from istvt.runtime.backends.choose import open_scorer
from istvt.runtime.scorer import Features, Scorer

BundlePrecision: TypeAlias = Literal["fp32", "fp16", "bf16"]
PRECISIONS: tuple[BundlePrecision, ...] = get_args(BundlePrecision)
FLAVOURS: dict[str, Literal["rtx", "tensorrt"]] = {"tensorrt_rtx": "rtx", "tensorrt": "tensorrt"}
BACKENDS = ("onnxruntime", "onnxruntime-tensorrt", "tensorrt_rtx", "tensorrt")
MAX_WINDOW_BATCH = 8


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


def check_scorer(settings: Settings, *, backend: str, precision: BundlePrecision) -> Outcome:
    """Open a bundle in a backend; promises, parity with fp32 on the CPU, and latency.

    Raises:
        CannotRunError: there is no bundle, or the backend is not to be had here.
        IstvtError: it was opened, and failed.
    """
    with ExitStack() as stack:
        scorer = stack.enter_context(_open(settings, backend, precision))
        preset = settings.preset
        faces = make_windows(preset, count=2, seed=1).reshape(-1, *(preset.image_size,) * 2, 3)
        limit = TOLERANCES[scorer.info.precision].max_abs_logit or 0.0
        broken = broken_promises(scorer, faces[: preset.num_frames + 2], tolerance=limit)
        found = score_windows(scorer, make_windows(preset))
        parity = outcome_of(
            reference_logits(settings), found, scorer.info.precision, scorer.info.backend
        )
        figures = {**parity.figures}
        for batch in BATCHES:
            figures |= _latency(settings, scorer, batch)
    note = "; ".join(f"does not hold: {promise}" for promise in broken)
    return Outcome(figures, passed=bool(parity.passed) and not broken, note=note)


def bundle_folder(settings: Settings, precision: str) -> Path:
    """Name the bundle of one precision."""
    return Path(settings.work) / f"{settings.preset_name}-{precision}.istvt"


def _open(settings: Settings, backend: str, precision: BundlePrecision) -> Scorer:
    folder = bundle_folder(settings, precision)
    if not folder.is_dir():
        raise CannotRunError(f"there is no bundle: see the check 'export {precision}'")
    bundle = open_bundle(folder)
    if backend in FLAVOURS:
        if settings.device == "cpu":
            raise CannotRunError("a rehearsal has no GPU for engines")
        _build_engines(bundle, backend)
    try:
        return open_scorer(bundle, backend=backend, device=settings.device)
    except EngineError:
        raise  # the engine was built here and for this GPU
    except IstvtError as error:
        raise CannotRunError(str(error)) from error


def _build_engines(bundle: Bundle, backend: str) -> None:
    from istvt.export.engine import EngineOptions
    from istvt.export.engines import build_engines

    require(backend, extra=FLAVOURS[backend])
    options = EngineOptions(flavour=FLAVOURS[backend], max_window_batch=MAX_WINDOW_BATCH)
    build_engines(bundle, options)


def _latency(settings: Settings, scorer: Scorer, batch: int) -> dict[str, float]:
    """Time whole frames beside eager; stages within a scorer cannot be told from outside."""
    torch = require("torch", extra="gpu")
    with torch.no_grad(), ExitStack() as stack:
        eager = frame_works(settings, way="eager", batch=batch, stack=stack)
        figures = measure_frames(settings, scorer_works(scorer, batch), eager, batch=batch)
    kept = ("window_ms", "frame_ms", "eager_frame_ms", "times_eager", "of_products_percent")
    return {f"batch_{batch}_{name}": figures[name] for name in kept}


def scorer_works(scorer: Scorer, batch: int) -> dict[str, Work]:
    """Give the frame of a scorer for some cameras, and its part that ends in the logits."""
    windows = make_windows(scorer.info.preset, count=batch)
    features = [scorer.encode(window) for window in windows]
    faces = windows[:, 0]

    def score() -> Any:
        return scorer.score(features)

    def frame() -> Any:
        new = scorer.encode(faces)
        shifted: list[Sequence[Features]] = [
            [*old[1:], face] for old, face in zip(features, new, strict=True)
        ]
        return scorer.score(shifted)

    return {"window": score, "frame": frame}


def _checks() -> dict[str, Check]:
    checks: dict[str, Check] = {}
    for precision in ("fp16", "fp32", "bf16"):
        checks[f"export {precision}"] = partial(export, precision=precision)
        backends = ("torch", *BACKENDS) if precision == "fp32" else BACKENDS
        for backend in backends:
            checks[f"{backend} {precision}"] = partial(
                check_scorer, backend=backend, precision=precision
            )
    return checks


CHECKS = _checks()
