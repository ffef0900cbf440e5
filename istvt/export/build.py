"""Export a run as a bundle in one atomic step: graphs, precision, parity, metadata."""

import datetime
import hashlib
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from istvt.bundle import manifest as bundles
from istvt.bundle.manifest import Bundle
from istvt.calibration.clips import CalibrationWindows, windows_from_clips
from istvt.errors import DataError, UsageError
from istvt.export.engines.build import check_builder, copy_timing_caches
from istvt.export.engines.builder import EngineOptions
from istvt.export.engines.parity import CheckedEngines, build_and_check
from istvt.export.graph import export_encoder, export_window
from istvt.export.precision import lower_graphs, quantize_graphs
from istvt.faces.mtcnn_weights import build_detector
from istvt.files import atomic_folder
from istvt.models.base import VideoModel
from istvt.models.load import load_run, load_sample_windows, save_weights
from istvt.presets import ModelConfig, ModelSpec
from istvt.records import Precision, Progress, ignore
from istvt.runtime.parity import ParityResult, ParitySteps, SampleWindows, gate, random_windows

TOOLS = ("istvt", "torch", "onnx", "onnxscript", "onnxruntime", "numpy")


@dataclass(frozen=True)
class Exported:
    """The results of an export."""

    bundle: Bundle
    parity: tuple[ParityResult, ...]
    engines: CheckedEngines | None = None


def export_run(
    run: Path,
    out: Path,
    *,
    precision: Precision = "fp32",
    clips: Path | None = None,
    engines: EngineOptions | None = None,
    progress: Progress = ignore,
) -> Exported:
    """Write the bundle of a run; `out` changes only if every check passes.

    Args:
        run: folder that `istvt train` or `istvt import-weights` wrote.
        out: the bundle's folder; its name ends in `.istvt`.
        precision: the graphs'.
        clips: folder of videos to calibrate INT8 with; None uses the run's held-out windows.
        engines: options of the TensorRT engines to build; None builds none.
        progress: called as each step starts, and as an engine's build advances.

    Raises:
        ModelNotFoundError: `run` is not a run.
        DataError: there are no windows to calibrate INT8 with.
        UsageError: `out` exists and is not a bundle.
        GateError: a graph's logits differ from the model's beyond the tolerance.
        EngineError: an engine cannot be built, or does not run on the GPU that built it.
    """
    check_out(out)
    if engines is not None:
        check_builder(engines)
    model, config = load_run(run)
    windows = _windows_to_compare(run, config.spec)
    calibration = None
    if precision == "int8":
        progress("calibration windows", 0, 0)
        calibration = _windows_to_calibrate(run, clips, config)
    with atomic_folder(out) as folder:
        draft = write_graphs(model, config, folder, progress=progress)
        steps = ParitySteps(windows, progress)
        steps.run(draft, "torch")
        steps.run(draft, "onnxruntime")
        if precision != "fp32":
            progress(f"convert to {precision}", 0, 0)
            draft = _convert(draft, precision, calibration, for_engines=engines is not None)
        if precision in ("fp16", "bf16") or (precision == "int8" and engines is not None):
            steps.run_rounded(draft)
        if precision in ("fp16", "int8"):  # ONNX Runtime runs bf16 only rounded
            steps.run(draft, "onnxruntime")
        if find_spec("openvino"):
            steps.run(draft, "openvino", gates=False)
        gate(steps.results)
        built = _build_engines(draft, engines, steps, progress, earlier=out)
        finished = replace(
            draft.with_digests(),
            calibration=_describe(calibration),
            parity=tuple(result.to_dict() for result in steps.results),
            tools=_tool_versions(),
            created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        )
        finished.write_manifest()
        for name in finished.files:
            (folder / name).chmod(0o644)  # onnx lets only the owner read the weights
    bundle = replace(finished, folder=out)
    return Exported(bundle=bundle, parity=tuple(steps.results), engines=built)


def _convert(
    draft: Bundle,
    precision: Precision,
    calibration: CalibrationWindows | None,
    *,
    for_engines: bool,
) -> Bundle:
    """Rewrite the graphs in `precision`; engines compute in fp16 around INT8 products."""
    if precision == "fp16" or precision == "bf16":
        lower_graphs(draft, precision)
    elif calibration is not None:
        quantize_graphs(draft, calibration.faces, around="fp16" if for_engines else None)
    return replace(draft.with_digests(), precision=precision)


def _build_engines(
    draft: Bundle,
    options: EngineOptions | None,
    steps: ParitySteps,
    progress: Progress,
    *,
    earlier: Path,
) -> CheckedEngines | None:
    """Build engines, if any, with the timing caches of an earlier bundle."""
    if options is None:
        return None
    engines = bundles.ENGINES_FOLDER
    copy_timing_caches(earlier / engines, draft.folder / engines)
    return build_and_check(draft, options, steps, progress=progress)


def write_graphs(
    model: VideoModel, config: ModelConfig, folder: Path, *, progress: Progress = ignore
) -> Bundle:
    """Write the fp32 graphs, the weights and the face detector into a folder."""
    draft = Bundle(folder=folder, config=config, precision="fp32")
    progress("encoder.onnx", 0, 0)
    export_encoder(model, draft.encoder)
    progress("window.onnx", 0, 0)
    export_window(model, draft.window, inlined=draft.inlined_window)
    progress("weights and face detector", 0, 0)
    save_weights(draft.weights, model)
    build_detector(draft.detector)
    return draft.with_digests()


def check_out(out: Path) -> None:
    """Refuse to overwrite anything that is not a bundle.

    Raises:
        UsageError: the name does not end in `.istvt`, or something else has it.
    """
    if out.suffix != ".istvt":
        raise UsageError(f"{out} must end in .istvt: bundles are found by this suffix")
    is_other_folder = (
        out.is_dir() and any(out.iterdir()) and not (out / bundles.MANIFEST_FILE).exists()
    )
    if out.is_file() or is_other_folder:
        raise UsageError(f"{out} exists and is not a bundle: choose another name")


def _windows_to_compare(run: Path, spec: ModelSpec) -> SampleWindows:
    faces = load_sample_windows(run)
    if faces is None or len(faces) == 0:
        return random_windows(spec)
    return SampleWindows(faces=faces, origin="held-out windows")


def _windows_to_calibrate(run: Path, clips: Path | None, config: ModelConfig) -> CalibrationWindows:
    if clips is not None:
        return windows_from_clips(clips, config)
    faces = load_sample_windows(run)
    if faces is None or len(faces) == 0:
        raise DataError(
            f"{run} holds no windows to calibrate INT8 with: pass --clips FOLDER with videos of "
            "faces, as the camera will see them"
        )
    return CalibrationWindows(faces, f"{len(faces)} held-out windows of the run")


def _describe(calibration: CalibrationWindows | None) -> dict[str, str]:
    """Record which windows gave the ranges, with a digest to verify them by."""
    if calibration is None:
        return {}
    digest = hashlib.sha256(calibration.faces.tobytes()).hexdigest()
    return {"windows": calibration.origin, "sha256": digest}


def _tool_versions() -> dict[str, str]:
    found = {}
    for tool in TOOLS:
        try:
            found[tool] = version(tool)
        except PackageNotFoundError:
            continue
    return found
