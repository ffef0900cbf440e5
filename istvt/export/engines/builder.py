"""Build a serialised TensorRT or TensorRT-RTX engine from one ONNX graph.

Networks are strongly typed: the graph's own types are the engine's precision. TensorRT-RTX builds
without a GPU, for named GPUs. Never give it a Python plugin, which aborts the process.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeAlias

from istvt.bundle.flavour import (
    TITLES,
    Flavour,
    load_tensorrt,
    make_logger,
    rtx_capabilities,
)
from istvt.errors import EngineError
from istvt.export.engines.monitor import (
    KEPT_MESSAGES,
    explain_builder,
    explain_parser,
    make_monitor,
    stoppable,
)
from istvt.extras import require
from istvt.files import atomic_file
from istvt.kernels.spec import AttentionName
from istvt.records import Progress, ignore

PluginChoice: TypeAlias = Literal["auto", "on", "off"]


@dataclass(frozen=True)
class EngineOptions:
    """Options for building engines.

    Attributes:
        flavour: of TensorRT.
        compute_capabilities: to build for, 89 for 8.9; TensorRT-RTX only. If empty, TensorRT-RTX
            builds for all from 8.0, and TensorRT for this machine's GPU.
        max_window_batch: windows of one pass; the encoder takes four times as many faces.
        workspace_mb: limit of the scratch memory; None uses the library's default.
        plugin: whether TensorRT's window engine uses our fused kernels. `auto` builds it without,
            with the temporal one, and with both, and keeps the fastest that agrees with the first.
    """

    flavour: Flavour
    compute_capabilities: tuple[int, ...] = ()
    max_window_batch: int = 16
    workspace_mb: int | None = None
    plugin: PluginChoice = "auto"

    @property
    def max_encoder_batch(self) -> int:
        """The largest number of faces in one pass."""
        return 4 * self.max_window_batch


@dataclass(frozen=True)
class PluginUse:
    """The attentions that our fused kernels compute, and the GPU, 89 for 8.9."""

    attentions: tuple[AttentionName, ...]
    compute_capability: int


@dataclass(frozen=True)
class BuiltEngine:
    """The result of a build.

    Attributes:
        num_layers: of the parsed network, before optimisation.
        inputs, outputs: name to (shape with -1 for the batch, TensorRT's name of the type).
        build_s: seconds from the start of parsing.
    """

    content: bytes
    num_layers: int
    inputs: dict[str, tuple[tuple[int, ...], str]]
    outputs: dict[str, tuple[tuple[int, ...], str]]
    build_s: float


def build_engine(
    graph: Path,
    options: EngineOptions,
    *,
    max_batch: int,
    plugins: PluginUse | None = None,
    timing_cache: Path | None = None,
    progress: Progress = ignore,
) -> BuiltEngine:
    """Build the engine of a graph with one input, whose first axis is the batch.

    Args:
        graph: its external weights lie beside it.
        options: see `EngineOptions`.
        max_batch: the profile covers 1 to this, tuned for 1.
        plugins: use our fused kernels; None uses the nodes' bodies of standard operators.
        timing_cache: TensorRT's measurements of kernels, read and written; for other builds of
            the same machine. TensorRT-RTX measures nothing when it builds.
        progress: called with (stage, steps done, total steps), also from the builder's threads.

    Raises:
        MissingExtraError: the library is not installed.
        EngineError: the graph cannot be parsed or built; names the node and a remedy.
        KeyboardInterrupt: the build was stopped.
    """
    trt = load_tensorrt(options.flavour)
    messages: list[str] = []
    log = make_logger(trt, messages)
    start_s = time.perf_counter()
    builder = _make_builder(trt, log, options.flavour, messages)
    network = builder.create_network(_creation_flags(trt))
    parser = trt.OnnxParser(network, log)
    if not _parse(trt, parser, graph, plugins):
        raise EngineError(explain_parser(parser, graph, options.flavour))
    _decompose_attention(trt, network, options.flavour)
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # on by default; it rounds fp32 factors to 10 bits
    _set_profile(builder, config, network, max_batch)
    _set_targets(trt, config, options)
    if options.workspace_mb is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mb << 20)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    with _timing_cache(trt, config, timing_cache, options), stoppable() as is_stopped:
        config.progress_monitor = make_monitor(trt, progress, is_stopped)
        content = builder.build_serialized_network(network, config)
        if is_stopped():
            raise KeyboardInterrupt
        if content is None:
            raise EngineError(explain_builder(messages, graph, options.flavour))
    return BuiltEngine(
        content=bytes(content),
        num_layers=network.num_layers,
        inputs=_describe(network.get_input(i) for i in range(network.num_inputs)),
        outputs=_describe(network.get_output(i) for i in range(network.num_outputs)),
        build_s=time.perf_counter() - start_s,
    )


def _make_builder(trt: ModuleType, log: Any, flavour: Flavour, messages: list[str]) -> Any:
    try:
        return trt.Builder(log)
    except (TypeError, RuntimeError) as error:
        reason = "; ".join(messages[-KEPT_MESSAGES:]) or str(error)
        raise EngineError(
            f"{TITLES[flavour]} cannot build on this machine: {reason}; it needs an NVIDIA GPU and "
            "its driver (TensorRT-RTX, --engine rtx, builds without one)"
        ) from error


def _parse(trt: ModuleType, parser: Any, graph: Path, plugins: PluginUse | None) -> bool:
    if plugins is None:
        return bool(parser.parse_from_file(str(graph)))
    from istvt.export.engines.plugin import register_plugins, with_plugin_nodes

    register_plugins(trt, compute_capability=plugins.compute_capability)
    onnx = require("onnx", extra="train")
    changed = with_plugin_nodes(onnx.load(graph, load_external_data=False), plugins.attentions)
    content = changed.SerializeToString()
    return bool(parser.parse(content, str(graph)))  # the path locates the weights beside it


def _creation_flags(trt: ModuleType) -> int:
    """Request a strongly typed network: an option in 10.x and TensorRT-RTX, the default in 11.x."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _decompose_attention(trt: ModuleType, network: Any, flavour: Flavour) -> None:
    """Allow attention to be split into several kernels, so that the build succeeds everywhere.

    No fused kernel takes fp32, and TensorRT lacks one for some GPUs and sizes
    (NVIDIA/TensorRT#4705). A fused one is still preferred (NvInfer.h,
    `IAttention::setDecomposable`).
    """
    kind = getattr(trt.LayerType, "ATTENTION_INPUT", None)
    for position in range(network.num_layers):
        layer = network.get_layer(position)
        if kind is None or layer.type != kind:
            continue
        if flavour == "tensorrt" or layer.get_input(0).dtype == trt.float32:
            layer.__class__ = trt.IAttentionInputLayer
            layer.attention.decomposable = True


def _set_profile(builder: Any, config: Any, network: Any, max_batch: int) -> None:
    value = network.get_input(0)
    row = tuple(value.shape)[1:]
    profile = builder.create_optimization_profile()
    profile.set_shape(value.name, (1, *row), (1, *row), (max_batch, *row))
    config.add_optimization_profile(profile)


def check_targets(trt: ModuleType, options: EngineOptions) -> None:
    """Refuse compute capabilities that the library cannot build for.

    Raises:
        EngineError: names those that it can build for.
    """
    if not options.compute_capabilities:
        return
    if options.flavour == "tensorrt":
        raise EngineError(
            "TensorRT builds only for the GPU of this machine: omit --compute-capability, "
            "or use --engine rtx"
        )
    known = rtx_capabilities(trt)
    if not set(options.compute_capabilities) <= set(known):
        names = ", ".join(map(str, known))
        given = ", ".join(map(str, options.compute_capabilities))
        raise EngineError(f"TensorRT-RTX {trt.__version__} builds for {names}, not for {given}")


def _set_targets(trt: ModuleType, config: Any, options: EngineOptions) -> None:
    check_targets(trt, options)
    if not options.compute_capabilities:
        return
    known = trt.ComputeCapability.__members__
    config.num_compute_capabilities = len(options.compute_capabilities)
    for index, number in enumerate(options.compute_capabilities):
        config.set_compute_capability(known[f"SM{number}"], index)


@contextmanager
def _timing_cache(
    trt: ModuleType, config: Any, path: Path | None, options: EngineOptions
) -> Iterator[None]:
    """Start from the measurements of earlier builds, and keep those of this build."""
    if path is None or options.flavour == "rtx":
        yield
        return
    before = path.read_bytes() if path.is_file() else b""
    cache = config.create_timing_cache(before)
    if cache is None:  # of another version: start empty
        cache = config.create_timing_cache(b"")
    config.set_timing_cache(cache, ignore_mismatch=False)
    yield
    measured = config.get_timing_cache()
    if measured is not None:
        with atomic_file(path) as temporary:
            temporary.write_bytes(bytes(measured.serialize()))


def _describe(values: Iterable[Any]) -> dict[str, tuple[tuple[int, ...], str]]:
    return {value.name: (tuple(value.shape), value.dtype.name) for value in values}
