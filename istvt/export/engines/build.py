"""Build a bundle's engines from its graphs, with their sidecars, under `engines/`."""

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import numpy as np

from istvt.bundle.engines import (
    GRAPHS,
    WAYS,
    EngineRecord,
    GraphName,
    engine_path,
    onnx_digests,
    sidecar_of,
)
from istvt.bundle.flavour import (
    MODULES,
    RTX_CAPABILITIES,
    TITLES,
    Flavour,
    check_rtx_gpu,
    cuda_of,
    load_tensorrt,
    rtx_capabilities,
)
from istvt.bundle.manifest import ENGINES_FOLDER, Bundle
from istvt.errors import (
    DeviceLostError,
    DeviceMemoryError,
    EngineError,
    RuntimeEnvironmentError,
)
from istvt.export.engines.builder import (
    BuiltEngine,
    EngineOptions,
    PluginUse,
    build_engine,
    check_targets,
)
from istvt.files import atomic_file, sha256_of_bytes
from istvt.kernels.spec import AttentionName
from istvt.records import FloatArray, Progress, ignore
from istvt.runtime.backends.cuda.device import Device
from istvt.runtime.backends.cuda.open import open_device
from istvt.runtime.backends.cuda.timing import score_noise, time_pass_ms
from istvt.runtime.parity import TOLERANCES

logger = logging.getLogger(__name__)

_T = TypeVar("_T")


def choose_flavour(name: str, targets: Sequence[int] = ()) -> Flavour | None:
    """Choose the library to build for, given `auto`, `rtx`, `tensorrt` or `none`.

    Args:
        name: `auto` takes the first that is installed and builds for this machine, or for the
            named GPUs. It warns why it passes another over.
        targets: the named compute capabilities, 89 for 8.9.

    Raises:
        DeviceMemoryError: the GPU that `auto` checks is full.
        DeviceLostError: it stopped working.
    """
    if name == "none":
        return None
    if name in MODULES:
        return name
    for flavour, module in MODULES.items():
        if find_spec(module) is None:
            continue
        try:
            _check_unloaded(flavour, targets)
        except (DeviceMemoryError, DeviceLostError):
            raise
        except RuntimeEnvironmentError as error:
            logger.warning("no engines of %s are built: %s", TITLES[flavour], error)
        else:
            return flavour
    return None


def _check_unloaded(flavour: Flavour, targets: Sequence[int]) -> None:
    """Refuse an unsuitable library without loading it, since then the other could not load."""
    if flavour == "tensorrt" and targets:
        raise EngineError("it builds only for the GPU of this machine, and others are named")
    for target in targets:
        check_rtx_gpu(target, "the named one", RTX_CAPABILITIES)
    gpu = None if targets else _find_gpu(flavour)
    if gpu is None:
        return
    gpu.close()
    if flavour == "rtx":
        check_rtx_gpu(gpu.compute_capability, gpu.name, RTX_CAPABILITIES)


def build_engines(
    bundle: Bundle,
    options: EngineOptions,
    *,
    progress: Progress = ignore,
) -> list[EngineRecord]:
    """Build both graphs' engines into the bundle's folder, replacing earlier ones.

    Raises:
        MissingExtraError: the library is not installed.
        EngineError: a graph cannot be built.
        DeviceLostError: the GPU stopped working while an engine was tried.
    """
    check_builder(options)
    gpu = _find_gpu(options.flavour)
    work = _Work(bundle, options, gpu, progress)
    try:
        return [work.write(*work.choose(graph)) for graph in GRAPHS]
    finally:
        if gpu is not None:
            gpu.close()


def copy_timing_caches(engines: Path, target: Path) -> None:
    """Copy an earlier build's timing caches, so that a build in another folder reuses them."""
    for cache in engines.glob("*.timing-cache"):
        target.mkdir(exist_ok=True)
        shutil.copyfile(cache, target / cache.name)


def check_builder(options: EngineOptions) -> None:
    """Find problems of this machine early that would fail any build.

    Raises:
        MissingExtraError: the library is not installed.
        EngineError: it needs this machine's GPU, and there is none; it does not support that GPU
            or a named one; or it takes no plugin.
    """
    trt = load_tensorrt(options.flavour)
    check_targets(trt, options)
    if options.plugin == "on" and options.flavour == "rtx":
        raise EngineError(f"{TITLES['rtx']} takes no plugins: use --plugin off")
    gpu = _find_gpu(options.flavour)
    if gpu is None:
        return
    gpu.close()
    if options.flavour == "rtx" and not options.compute_capabilities:
        check_rtx_gpu(gpu.compute_capability, f"this machine's {gpu.name}", rtx_capabilities(trt))


class _Work:
    """State that the steps of one build share."""

    def __init__(
        self, bundle: Bundle, options: EngineOptions, gpu: Device | None, progress: Progress
    ) -> None:
        self._bundle, self._options = bundle, options
        self._gpu, self._progress = gpu, progress

    def choose(self, graph: GraphName) -> tuple[GraphName, EngineRecord, bytes]:
        """Build a graph with the requested plugins; for `auto`, keep the fastest correct engine."""
        plugin = "off"
        if graph == "window" and self._options.flavour == "tensorrt":
            plugin = self._options.plugin
        if plugin == "auto" and self._gpu is not None:
            return graph, *self._fastest(graph)
        return graph, *self._build(graph, "both plugins" if plugin == "on" else "no plugin")

    def _fastest(self, graph: GraphName) -> tuple[EngineRecord, bytes]:
        kept = self._build(graph, "no plugin")
        measured: dict[str, float] = {}
        try:
            expected = self._on_gpu(score_noise, *kept)
            measured["no plugin"] = self._on_gpu(time_pass_ms, *kept)
            for way in ("temporal plugin", "both plugins"):
                built = self._build(graph, way)
                if not self._agree(way, self._on_gpu(score_noise, *built), expected):
                    continue
                measured[way] = self._on_gpu(time_pass_ms, *built)
                if measured[way] == min(measured.values()):
                    kept = built
        except DeviceLostError:
            raise
        except RuntimeEnvironmentError as error:
            logger.warning("the engine has %s, others cannot be built: %s", kept[0].way, error)
        return replace(kept[0], window_ms=measured), kept[1]

    def write(self, graph: GraphName, record: EngineRecord, content: bytes) -> EngineRecord:
        """Write an engine and its sidecar."""
        path = engine_path(self._bundle.folder, graph, self._options.flavour)
        with atomic_file(path) as temporary:
            temporary.write_bytes(content)
        with atomic_file(sidecar_of(path)) as temporary:
            record.write(temporary)
        return record

    def _build(self, graph: GraphName, way: str) -> tuple[EngineRecord, bytes]:
        options, gpu, plugins = self._options, self._gpu, WAYS[way]
        name = f"{graph} with {way}" if plugins else graph
        built = build_engine(
            self._bundle.folder / f"{graph}.onnx",
            options,
            max_batch=self._max_batch(graph),
            plugins=PluginUse(plugins, gpu.compute_capability) if plugins and gpu else None,
            timing_cache=self._bundle.folder / ENGINES_FOLDER / f"{options.flavour}.timing-cache",
            progress=lambda stage, done, total: self._progress(
                f"{name}: {stage.lower()}", done, total
            ),
        )
        return self._describe(graph, built, plugins), built.content

    def _describe(
        self, graph: GraphName, built: BuiltEngine, plugins: tuple[AttentionName, ...]
    ) -> EngineRecord:
        options, gpu = self._options, self._gpu
        capabilities = options.compute_capabilities
        if options.flavour == "tensorrt" and gpu is not None:
            capabilities = (gpu.compute_capability,)
        return EngineRecord(
            flavour=options.flavour,
            version=load_tensorrt(options.flavour).__version__,
            cuda=cuda_of(options.flavour),
            driver=gpu.driver if gpu is not None else None,
            gpu=gpu.name if gpu is not None else "",
            compute_capabilities=capabilities,
            precision=self._bundle.precision,
            max_batch=self._max_batch(graph),
            plugins=plugins,
            onnx=onnx_digests(self._bundle, graph),
            sha256=sha256_of_bytes(built.content),
            num_bytes=len(built.content),
            num_layers=built.num_layers,
            build_s=round(built.build_s, 2),
        )

    def _max_batch(self, graph: GraphName) -> int:
        options = self._options
        return options.max_encoder_batch if graph == "encoder" else options.max_window_batch

    def _agree(self, way: str, found: FloatArray, expected: FloatArray) -> bool:
        """Compare logits with those without plugins; the sign of a logit of noise means nothing."""
        worst = float(np.abs(found - expected).max())
        limit = TOLERANCES[self._bundle.precision].max_abs_logit
        if limit is not None and not worst <= limit:  # rejects NaN too
            logger.warning(
                "the engine is built without %s, which changes a logit by %.1e: at most %.0e is "
                "allowed in %s",
                *(way, worst, limit, self._bundle.precision),
            )
            return False
        return True

    def _on_gpu(self, measure: Callable[..., _T], record: EngineRecord, content: bytes) -> _T:
        if self._gpu is None:
            raise EngineError("an engine cannot be tried without a GPU: pass --plugin on or off")
        trt = load_tensorrt(self._options.flavour)
        return measure(trt, record, content, self._gpu, self._bundle.config.spec)


def _find_gpu(flavour: Flavour) -> Device | None:
    """Open this machine's GPU, or None if TensorRT-RTX needs none; a full GPU is an error."""
    try:
        return open_device()
    except (DeviceMemoryError, DeviceLostError):
        raise
    except RuntimeEnvironmentError as error:
        if flavour == "tensorrt":
            raise EngineError(
                f"TensorRT builds on the GPU that it runs on, and none is available: {error} "
                "(TensorRT-RTX, --engine rtx, builds without one)"
            ) from error
        return None
