"""A bundle's graphs in, its engines with their sidecars out, under `engines/`."""

from pathlib import Path

from istvt.errors import RuntimeEnvironmentError
from istvt.export.bundle import ENGINES_FOLDER, Bundle
from istvt.export.engine import BuildProgress, BuiltEngine, EngineOptions, build_engine
from istvt.export.engine_record import (
    GRAPHS,
    EngineRecord,
    GraphName,
    engine_path,
    onnx_digests,
    sidecar_of,
)
from istvt.export.flavour import cuda_of, load_tensorrt
from istvt.files import atomic_file, sha256_of
from istvt.runtime.backends.device import Device, open_device


def build_engines(
    bundle: Bundle,
    options: EngineOptions,
    *,
    progress: BuildProgress = lambda stage, done, total: None,
) -> list[EngineRecord]:
    """Build both graphs' engines into the bundle's folder, in the place of earlier ones.

    Raises:
        MissingExtraError: the library is not installed.
        EngineError: a graph cannot be built.
    """
    load_tensorrt(options.flavour)
    gpu = _find_gpu(is_needed=options.flavour == "tensorrt")
    try:
        return [_build(bundle, graph, options, gpu, progress) for graph in GRAPHS]
    finally:
        if gpu is not None:
            gpu.close()


def _build(
    bundle: Bundle,
    graph: GraphName,
    options: EngineOptions,
    gpu: Device | None,
    progress: BuildProgress,
) -> EngineRecord:
    source = bundle.folder / f"{graph}.onnx"
    max_batch = options.max_encoder_batch if graph == "encoder" else options.max_window_batch

    def report(stage: str, done: int, total: int) -> None:
        progress(f"{graph}: {stage.lower()}", done, total)

    built = build_engine(
        source,
        options,
        max_batch=max_batch,
        timing_cache=bundle.folder / ENGINES_FOLDER / f"{options.flavour}.timing-cache",
        progress=report,
    )
    path = engine_path(bundle.folder, graph, options.flavour)
    with atomic_file(path) as temporary:
        temporary.write_bytes(built.content)
    record = _describe(bundle, graph, options, gpu, built, path)
    with atomic_file(sidecar_of(path)) as temporary:
        record.write(temporary)
    return record


def _describe(
    bundle: Bundle,
    graph: GraphName,
    options: EngineOptions,
    gpu: Device | None,
    built: BuiltEngine,
    path: Path,
) -> EngineRecord:
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
        precision=bundle.precision,
        max_batch=options.max_encoder_batch if graph == "encoder" else options.max_window_batch,
        plugin=False,
        onnx=onnx_digests(bundle, graph),
        sha256=sha256_of(path),
        num_bytes=len(built.content),
        num_layers=built.num_layers,
        build_s=round(built.build_s, 2),
    )


def _find_gpu(*, is_needed: bool) -> Device | None:
    """Open this machine's GPU; TensorRT-RTX builds without one."""
    try:
        return open_device()
    except RuntimeEnvironmentError:
        if is_needed:
            raise
        return None


def gpu_is_there() -> bool:
    """Tell whether this process can reach a GPU."""
    gpu = _find_gpu(is_needed=False)
    if gpu is None:
        return False
    gpu.close()
    return True
