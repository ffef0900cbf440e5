"""The exported model on each GPU backend: does it keep its promises, what does it say, how fast?"""

from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from functools import partial
from importlib.util import find_spec
from typing import Any, Literal, TypeAlias

from gpu_check import engines
from gpu_check.bundles import BundlePrecision, export, open_exported
from gpu_check.check import Check, gather_warnings
from gpu_check.clock import Work
from gpu_check.conformance import NUM_WINDOWS, broken_promises
from gpu_check.latency import BATCHES, frame_works, measure_frames, open_way
from gpu_check.machine import require_bf16
from gpu_check.memory import check_memory
from gpu_check.model import allowed_error, outcome_of
from gpu_check.result import CannotRunError, Outcome, Settings
from gpu_check.subject import make_windows, reference_logits
from istvt.bundle.manifest import Bundle
from istvt.errors import BackendError
from istvt.extras import require
from istvt.presets import ModelPreset
from istvt.records import UInt8Array
from istvt.runtime.backends.choose import open_scorer
from istvt.runtime.backends.onnxruntime_gpu import CUDA_PROVIDER, TENSORRT_PROVIDER
from istvt.runtime.parity import score_windows
from istvt.scorer import Features, Scorer

Row: TypeAlias = tuple[str, engines.PluginName | Literal["memory"] | None]  # a backend, and how
BUILDS = ("onnxruntime-tensorrt",)  # when it is opened
UNFUSED = "PyTorch runs without the fused attention"  # what `torch_cuda.fused` warns of
PROVIDERS = {"onnxruntime": CUDA_PROVIDER, "onnxruntime-tensorrt": TENSORRT_PROVIDER}


def check_scorer(
    settings: Settings,
    *,
    backend: str,
    precision: BundlePrecision,
    plugin: engines.PluginName = "off",
) -> Outcome:
    """Open a bundle in a backend; promises, parity with fp32 on the CPU, and latency.

    Raises:
        CannotRunError: there is no bundle, or the backend is not to be had here.
        MissingExtraError: it is not installed.
        IstvtError: it is to be had here, and failed.
    """
    require_bf16(settings, precision)
    bundle = open_exported(settings, precision)
    with ExitStack() as stack:
        with gather_warnings() as told:
            scorer = stack.enter_context(_open(settings, bundle, backend, plugin))
        limit = allowed_error(scorer.info.precision, settings.device)
        broken = broken_promises(scorer, _faces(settings.preset), tolerance=limit)
        found = score_windows(scorer, make_windows(settings.preset))
        parity = outcome_of(reference_logits(settings), found, limit)
        figures = {**parity.figures}
        for batch in BATCHES:
            figures |= _latency(settings, scorer, batch)
    if find_spec("triton") and any(UNFUSED in warning for warning in told):
        broken = [*broken, "our kernels run where Triton is"]
    notes = [f"does not hold: {promise}" for promise in broken]
    record = engines.read_window_record(bundle, backend) if backend in engines.FLAVOURS else None
    if record is not None:
        timed = [f"{way} {time_ms:.3g} ms" for way, time_ms in record.window_ms.items()]
        notes.append(", ".join([f"built with {record.way}", *timed]))
    return Outcome(figures, passed=bool(parity.passed) and not broken, note="; ".join(notes))


def _faces(preset: ModelPreset) -> UInt8Array:
    count = preset.num_frames + NUM_WINDOWS - 1
    windows = make_windows(preset, count=-(-count // preset.num_frames), seed=1)
    return windows.reshape(-1, *windows.shape[2:])[:count]


def _open(settings: Settings, bundle: Bundle, backend: str, plugin: engines.PluginName) -> Scorer:
    if settings.device == "cpu" and backend not in ("torch", "onnxruntime"):
        raise CannotRunError(f"a rehearsal has no GPU for {backend}")
    if backend in engines.FLAVOURS:
        engines.build(settings, bundle, backend, plugin)
    builds = settings.building(f"{backend} built its engines")
    try:
        with builds if backend in BUILDS else nullcontext():
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


def _latency(settings: Settings, scorer: Scorer, batch: int) -> dict[str, float]:
    """Time whole frames beside eager; stages within a scorer cannot be told from outside."""
    torch = require("torch", extra="gpu")
    with torch.no_grad(), ExitStack() as stack:
        eager = frame_works(settings, open_way(settings, way="eager", batch=batch, stack=stack))
        figures = measure_frames(settings, scorer_works(scorer, batch), eager, batch=batch)
    kept = ("window_ms", "frame_ms", "eager_frame_ms", "times_eager", "of_products_percent")
    return {f"batch_{batch}_{name}": figures[name] for name in kept}


def scorer_works(scorer: Scorer, batch: int) -> dict[str, Work]:
    """Give the frame of a scorer for some cameras, and its part that ends in the logits."""
    windows = make_windows(scorer.info.spec, count=batch)
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


def checks_of(precision: BundlePrecision, rows: Sequence[Row]) -> dict[str, Check]:
    """Name the checks of one precision; before them comes its export."""
    checks: dict[str, Check] = {f"export {precision}": partial(export, precision=precision)}
    for backend, kind in rows:
        options: dict[str, Any] = {"backend": backend, "precision": precision}
        if kind == "memory":  # looks at the engine that was just built
            checks[f"{backend}, memory {precision}"] = partial(check_memory, **options)
        elif kind is None:
            checks[f"{backend} {precision}"] = partial(check_scorer, **options)
        else:
            check = partial(check_scorer, plugin=kind, **options)
            checks[f"{backend}, plugin {kind} {precision}"] = check
    return checks


CHECKS = checks_of(
    "fp16",
    (
        *(("torch", None), ("onnxruntime", None), ("tensorrt", "off"), ("tensorrt_rtx", None)),
        *(("tensorrt", "temporal"), ("tensorrt", "on"), ("tensorrt", "memory")),
    ),
)
