"""Write the model's bundles and build their engines, for the tests and times that follow."""

import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias, cast, get_args

from gpu_check.subject import CannotRunError, Settings, building, make_model, require_bf16
from gpu_check.table import Row
from istvt.bundle.engines import EngineRecord, engine_path, read_record
from istvt.bundle.flavour import TITLES, Flavour
from istvt.bundle.manifest import Bundle, open_bundle
from istvt.errors import BackendError, EngineError
from istvt.export.engines.build import build_engines, check_builder
from istvt.export.engines.builder import EngineOptions
from istvt.extras import require
from istvt.kernels.compile import TARGETS
from istvt.presets import CropRecipe, ModelConfig
from istvt.runtime.backends.choose import open_scorer
from istvt.runtime.backends.cuda.open import open_device
from istvt.runtime.backends.onnxruntime_gpu import CUDA_PROVIDER, TENSORRT_PROVIDER
from istvt.scorer import Scorer

PluginName: TypeAlias = Literal["off", "on", "auto"]
BundlePrecision: TypeAlias = Literal["fp16", "bf16", "fp32"]
FLAVOURS: dict[str, Flavour] = {"tensorrt_rtx": "rtx", "tensorrt": "tensorrt"}
PROVIDERS = {"onnxruntime": CUDA_PROVIDER, "onnxruntime-tensorrt": TENSORRT_PROVIDER}
MAX_WINDOW_BATCH = 8


@dataclass(frozen=True)
class Subject:
    """A bundle in a backend.

    Attributes:
        plugin: what TensorRT builds its engines with; None elsewhere.
    """

    backend: str
    precision: BundlePrecision
    plugin: PluginName | None = None

    @property
    def name(self) -> str:
        """Name it for the table."""
        return self.backend + (f", plugin {self.plugin}" if self.plugin else "")

    @property
    def is_built(self) -> bool:
        """Whether engines are built before it can be opened."""
        return self.backend in FLAVOURS or self.backend == "onnxruntime-tensorrt"


BACKENDS: tuple[tuple[str, PluginName | None], ...] = (
    *(("torch", None), ("onnxruntime", None), ("tensorrt", "off"), ("tensorrt_rtx", None)),
    *(("tensorrt", "on"), ("tensorrt", "auto"), ("onnxruntime-tensorrt", None)),
)
PRECISIONS: tuple[BundlePrecision, ...] = get_args(BundlePrecision)
SUBJECTS = tuple(
    Subject(backend, precision, plugin)
    for precision in PRECISIONS
    for backend, plugin in BACKENDS
    if precision == "fp16" or plugin != "auto"
)


def subject_of(row: Row) -> Subject:
    """Find what a row is about."""
    known = {(subject.name, subject.precision): subject for subject in SUBJECTS}
    return known[row.subject, cast(BundlePrecision, row.dtype)]


def export(settings: Settings, row: Row) -> Row:
    """Write the model's bundle in the row's precision, where there is none yet.

    Raises:
        MissingExtraError: what exports is not installed.
    """
    for module in ("torch", "onnx", "onnxscript", "safetensors"):
        require(module, extra="train")
    from istvt.export.graph import export_encoder, export_window
    from istvt.export.precision import lower_graphs
    from istvt.models.load import save_weights

    precision = cast(BundlePrecision, row.dtype)
    folder = bundle_folder(settings, precision)
    if not folder.is_dir():
        model = make_model(settings.preset)
        unfinished = folder.with_suffix(".part")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        crop = CropRecipe(size_px=settings.preset.image_size)
        config = ModelConfig(preset=settings.preset, crop=crop)
        draft = Bundle(folder=unfinished, config=config, precision=precision)
        export_encoder(model, draft.encoder)
        export_window(model, draft.window, inlined=draft.inlined_window)
        save_weights(draft.weights, model)
        if precision != "fp32":
            lower_graphs(draft, precision)
        replace(draft.with_digests(), created="for this check").write_manifest()
        unfinished.rename(folder)
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return replace(row, status="measured", value=sum(sizes) / 2**20, unit="MiB")


def bundle_folder(settings: Settings, precision: str) -> Path:
    """Name the bundle of one precision."""
    return Path(settings.work) / f"{settings.preset_name}-{precision}.istvt"


def open_exported(settings: Settings, precision: BundlePrecision) -> Bundle:
    """Open what `export` wrote.

    Raises:
        CannotRunError: it did not get to its end.
    """
    folder = bundle_folder(settings, precision)
    if not folder.is_dir():
        raise CannotRunError(f"there is no bundle: see the row 'export' of {precision}")
    return open_bundle(folder)


def build(settings: Settings, row: Row) -> Row:
    """Build a subject's engines in the place of those of another plugin; give the seconds."""
    subject = subject_of(row)
    if settings.device == "cpu":
        raise CannotRunError(f"a rehearsal has no GPU for {subject.backend}")
    require_bf16(settings.device, subject.precision)
    bundle = open_exported(settings, subject.precision)
    stamp = _stamp(settings, subject)
    stamp.unlink(missing_ok=True)
    start_s = time.perf_counter()
    if subject.backend in FLAVOURS:
        build_with_tensorrt(bundle, subject)
    else:
        with building(f"{subject.backend} built its engines"):
            _open(settings, bundle, subject).close()  # it keeps them in the bundle
    row = replace(row, status="measured", value=time.perf_counter() - start_s, unit="s")
    stamp.write_text(subject.name)
    record = read_window_record(bundle, subject.backend)
    if record is None:
        return row
    times_ms = {f"{way} ms": time_ms for way, time_ms in record.window_ms.items()}
    return replace(row, note=f"built with {record.way}", figures=times_ms)


def open_subject(settings: Settings, subject: Subject) -> Scorer:
    """Open a subject's bundle in its backend, kernels compiled before they run.

    Raises:
        CannotRunError: it was not built, or the backend is not to be had here.
        MissingExtraError: it is not installed.
        IstvtError: it is to be had here, and failed.
    """
    if settings.device == "cpu" and subject.backend not in ("torch", "onnxruntime"):
        raise CannotRunError(f"a rehearsal has no GPU for {subject.backend}")
    require_bf16(settings.device, subject.precision)
    bundle = open_exported(settings, subject.precision)
    if not _is_built(settings, subject):
        raise CannotRunError(f"there is no engine: see the row 'build' of {subject.name}")
    return _open(settings, bundle, subject)


def read_window_record(bundle: Bundle, backend: str) -> EngineRecord | None:
    """Read what the window's engine is; None where none was built."""
    if backend not in FLAVOURS:
        return None
    path = engine_path(bundle.folder, "window", FLAVOURS[backend])
    return read_record(path) if path.is_file() else None


def prepare(settings: Settings, subject: Subject) -> None:
    """Export and build a subject where no row did, for tests that run without a plan."""
    row = Row("", "", subject.name, subject.precision)
    export(settings, row)
    if not _is_built(settings, subject):
        build(settings, row)


def _is_built(settings: Settings, subject: Subject) -> bool:
    """Say whether a bundle's engines, if the subject has any, are its own."""
    stamp = _stamp(settings, subject)
    return not subject.is_built or (stamp.is_file() and stamp.read_text() == subject.name)


def _stamp(settings: Settings, subject: Subject) -> Path:
    """Name the file that says which subject the engines in a bundle are built for."""
    folder = bundle_folder(settings, subject.precision)
    return folder.with_name(f"{folder.name}.{subject.backend}.txt")


def _open(settings: Settings, bundle: Bundle, subject: Subject) -> Scorer:
    backend = subject.backend
    try:
        return open_scorer(bundle, backend=backend, device=settings.device, eager_kernels=True)
    except BackendError as error:
        if settings.device == "cuda" and backend in PROVIDERS and not _starts(PROVIDERS[backend]):
            raise CannotRunError(str(error)) from error
        raise


def _starts(provider: str) -> bool:
    """Ask ONNX Runtime for one trivial node: a provider that lacks libraries is left out."""
    onnx, runtime = require("onnx", extra="train"), require("onnxruntime", extra="gpu")
    make = onnx.helper
    values = [make.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
    graph = make.make_graph([make.make_node("Identity", "x", "y")], "g", values[:1], values[1:])
    model = make.make_model(graph, ir_version=8, opset_imports=[make.make_opsetid("", 17)])
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=[provider], enable_fallback=0
    )
    return provider in session.get_providers()


def build_with_tensorrt(bundle: Bundle, subject: Subject) -> None:
    """Build a subject's engines.

    Raises:
        CannotRunError: the library does not build for this GPU or is too old, or the plugins that
            are asked for have no kernels for it.
        MissingExtraError: the library, or what reaches the GPU's memory, is not installed.
        RuntimeEnvironmentError: it should build, and does not.
    """
    flavour, plugin = FLAVOURS[subject.backend], subject.plugin or "off"
    options = EngineOptions(flavour, max_window_batch=MAX_WINDOW_BATCH, plugin=plugin)
    gpu = open_device()  # a builder would take this one's failure for a machine without a GPU
    gpu.close()
    try:
        check_builder(options)
    except EngineError as error:
        raise CannotRunError(str(error)) from error
    if plugin == "on" and gpu.compute_capability not in TARGETS:
        known = ", ".join(map(str, TARGETS))
        raise CannotRunError(
            f"the plugins have no kernels for compute capability {gpu.compute_capability}, only "
            f"for {known}"
        )
    with building(f"{TITLES[flavour]} built its engines"):
        build_engines(bundle, options)
