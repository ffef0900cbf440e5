"""A bundle in, its engines with or without our plugins out, for the scorers that are checked."""

from dataclasses import replace
from typing import Literal, TypeAlias

from gpu_check.result import CannotRunError, Settings
from istvt.bundle.engines import EngineRecord, engine_path, read_record, sidecar_of
from istvt.bundle.flavour import TITLES, Flavour
from istvt.bundle.manifest import Bundle
from istvt.errors import EngineError
from istvt.export.engines.build import build_engines, check_builder
from istvt.export.engines.builder import EngineOptions, PluginUse, build_engine
from istvt.files import sha256_of_bytes
from istvt.kernels.compile import TARGETS
from istvt.runtime.backends.cuda.open import open_device

PluginName: TypeAlias = Literal["off", "temporal", "on", "auto"]
FLAVOURS: dict[str, Flavour] = {"tensorrt_rtx": "rtx", "tensorrt": "tensorrt"}
MAX_WINDOW_BATCH = 8


def build(settings: Settings, bundle: Bundle, backend: str, plugin: PluginName) -> None:
    """Build a backend's engines; `temporal` builds that of the window again where there is one.

    Raises:
        CannotRunError: the library does not build for this GPU or is too old, or the plugins that
            are asked for have no kernels for it.
        MissingExtraError: the library, or what reaches the GPU's memory, is not installed.
        RuntimeEnvironmentError: it should build, and does not.
    """
    flavour = FLAVOURS[backend]
    choice = "off" if plugin == "temporal" else plugin
    options = EngineOptions(flavour, max_window_batch=MAX_WINDOW_BATCH, plugin=choice)
    gpu = open_device()  # a builder would take this one's failure for a machine without a GPU
    gpu.close()
    try:
        check_builder(options)
    except EngineError as error:
        raise CannotRunError(str(error)) from error
    if plugin in ("temporal", "on") and gpu.compute_capability not in TARGETS:
        known = ", ".join(map(str, TARGETS))
        raise CannotRunError(
            f"the plugins have no kernels for compute capability {gpu.compute_capability}, only "
            f"for {known}"
        )
    with settings.building(f"{TITLES[flavour]} built its engines"):
        if plugin != "temporal" or read_window_record(bundle, backend) is None:
            build_engines(bundle, options)
        if plugin == "temporal":
            _put_in(bundle, options, PluginUse(("temporal",), gpu.compute_capability))


def read_window_record(bundle: Bundle, backend: str) -> EngineRecord | None:
    """Read what the window's engine is; None where none was built."""
    path = engine_path(bundle.folder, "window", FLAVOURS[backend])
    return read_record(path) if path.is_file() else None


def _put_in(bundle: Bundle, options: EngineOptions, plugins: PluginUse) -> None:
    """Build the window's engine with a choice of plugins that the export does not offer."""
    path = engine_path(bundle.folder, "window", options.flavour)
    built = build_engine(
        bundle.window,
        options,
        max_batch=options.max_window_batch,
        plugins=plugins,
        timing_cache=path.with_name(f"{options.flavour}.timing-cache"),
    )
    record = replace(
        read_record(path),
        plugins=plugins.attentions,
        window_ms={},
        sha256=sha256_of_bytes(built.content),
        num_bytes=len(built.content),
        num_layers=built.num_layers,
        build_s=built.build_s,
    )
    path.write_bytes(built.content)
    record.write(sidecar_of(path))
