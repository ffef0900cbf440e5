"""Register our fused attentions as TensorRT plugins; the engine then contains their PTX.

They are quickly deployable plugins, compiled ahead of time. TensorRT calls them only while it
builds, and the engine runs without Python, Triton or an extra library. TensorRT-RTX takes no
plugins: never register one there, since it ends the process.
"""
# No `from __future__ import annotations` here: TensorRT reads the annotations as classes.

from collections.abc import Collection
from importlib import import_module
from types import ModuleType
from typing import Any

import onnx
import onnx.inliner

from istvt.errors import EngineError
from istvt.extras import require
from istvt.kernels.compile import PLAIN_SHARED_BYTES, TARGETS, CompiledKernel, compile_ptx
from istvt.kernels.functions import DOMAIN, SELF_SUBTRACT_ATTENTION, SPATIAL_ATTENTION
from istvt.kernels.spec import AttentionName, KernelSpec
from istvt.records import FloatPrecision

NODES: dict[AttentionName, str] = {
    "temporal": SELF_SUBTRACT_ATTENTION,
    "spatial": SPATIAL_ATTENTION,
}
PLUGIN_VERSION = "1"
TYPES: dict[str, FloatPrecision] = {"HALF": "fp16", "BF16": "bf16", "FLOAT": "fp32"}

_registered: set[int] = set()  # the GPU's capability; TensorRT's registry is per process too


def register_plugins(trt: ModuleType, *, compute_capability: int) -> None:
    """Register the nodes of both attentions with classic TensorRT, once per process.

    Args:
        trt: classic TensorRT, 10.x or 11.x.
        compute_capability: of the target GPU.

    Raises:
        EngineError: it is TensorRT-RTX or lacks ahead-of-time plugins, there is no kernel for the
            GPU, or plugins are registered incompletely or for another GPU.
        MissingExtraError: Triton is not installed.
    """
    if "rtx" in trt.__name__:
        raise EngineError("TensorRT-RTX takes no plugins: use --plugin off, or --engine tensorrt")
    if compute_capability not in TARGETS:
        raise EngineError(
            f"the plugins have no kernel for compute capability {compute_capability}, only for "
            f"{', '.join(map(str, TARGETS))}: use --plugin off"
        )
    require("triton", extra="gpu")  # TensorRT would need it in the middle of the build
    for other in _registered - {compute_capability}:
        raise EngineError(
            f"the plugins are registered for compute capability {other} in this process: build "
            f"for {compute_capability} in another process"
        )
    plugins = import_module(f"{trt.__name__}.plugin")
    if not hasattr(plugins, "aot_impl"):
        raise EngineError(
            f"TensorRT {trt.__version__} has no ahead-of-time plugins: install 10.9 or later, or "
            "use --plugin off"
        )
    _registered.add(compute_capability)
    for attention in NODES:
        if not _is_defined(plugins, attention):
            _define(plugins, attention, compute_capability)


def plugin_id(attention: AttentionName) -> str:
    """Return TensorRT's name of a plugin."""
    return f"{DOMAIN}::{NODES[attention]}"


def with_plugin_nodes(
    graph: onnx.ModelProto, attentions: Collection[AttentionName]
) -> onnx.ModelProto:
    """Copy a window graph for TensorRT's parser: its nodes request plugins and have no bodies.

    Args:
        graph: with our nodes and their bodies.
        attentions: whose nodes become plugins; the nodes of others are replaced by their bodies.
    """
    inlined = [(DOMAIN, name) for kind, name in NODES.items() if kind not in attentions]
    copy = onnx.inliner.inline_selected_functions(graph, inlined)
    del copy.functions[:]
    for node in copy.graph.node:
        if node.domain == DOMAIN:
            node.attribute.extend(
                [
                    onnx.helper.make_attribute("plugin_namespace", DOMAIN),
                    onnx.helper.make_attribute("plugin_version", PLUGIN_VERSION),
                    onnx.helper.make_attribute("aot", 1),
                ]
            )
    return copy


def kernel_for(
    attention: AttentionName, sizes: list[int], *, type_name: str, compute_capability: int
) -> CompiledKernel:
    """Compile the kernel of one node.

    Args:
        attention: of the node.
        sizes: T+1, heads and head_dim of its `qkv`.
        type_name: TensorRT's name of the values' type.
        compute_capability: of the GPU.

    Raises:
        EngineError: there is no kernel for the type, or it needs more shared memory than an
            engine provides.
    """
    if type_name not in TYPES:
        raise EngineError(f"no kernel takes {type_name}: export with --fp16 or --bf16")
    num_rows, num_heads, head_dim = sizes
    spec = KernelSpec(attention, num_rows, num_heads, head_dim, TYPES[type_name])
    kernel = compile_ptx(spec, compute_capability=compute_capability)
    if kernel.shared_bytes > PLAIN_SHARED_BYTES:
        raise EngineError(
            f"the {attention} kernel needs {kernel.shared_bytes} bytes of shared memory, an engine "
            f"provides {PLAIN_SHARED_BYTES}: use --plugin off"
        )
    return kernel


def _define(plugins: ModuleType, attention: AttentionName, compute_capability: int) -> None:
    TensorDesc, name = plugins.TensorDesc, plugin_id(attention)

    @plugins.register(name)  # type: ignore[untyped-decorator]
    def describe(qkv: TensorDesc) -> TensorDesc:  # type: ignore[valid-type]
        """Map `(B, T+1, N, 3, heads, head_dim)` to `(B, T+1, N, heads * head_dim)`."""
        batch, rows, columns, _, heads, head_dim = qkv.shape_expr  # type: ignore[attr-defined]
        shape = (batch, rows, columns, heads * head_dim)
        return plugins.from_shape_expr(shape, dtype=qkv.dtype)  # type: ignore[attr-defined]

    @plugins.autotune(name)  # type: ignore[untyped-decorator]
    def list_types(
        qkv: TensorDesc,  # type: ignore[valid-type]
        outputs: tuple[TensorDesc],  # type: ignore[valid-type]
    ) -> list[plugins.AutoTuneCombination]:  # type: ignore[name-defined]
        """List the types that the kernel takes, in rows without gaps."""
        return [plugins.AutoTuneCombination("FP16|BF16|FP32, FP16|BF16|FP32", "LINEAR")]

    @plugins.aot_impl(name)  # type: ignore[untyped-decorator]
    def compile_for(
        qkv: TensorDesc,  # type: ignore[valid-type]
        outputs: tuple[TensorDesc],  # type: ignore[valid-type]
        tactic: int,
    ) -> tuple[str, str, plugins.KernelLaunchParams, plugins.SymExprs]:  # type: ignore[name-defined]
        """Return the PTX, its grid for any batch and columns, and its one scalar."""
        batch, rows, columns, _, heads, head_dim = qkv.shape_expr  # type: ignore[attr-defined]
        sizes = [size.constant_value() for size in (rows, heads, head_dim)]
        kernel = kernel_for(
            attention,
            sizes,
            type_name=qkv.dtype.name,  # type: ignore[attr-defined]
            compute_capability=compute_capability,
        )
        launch = plugins.KernelLaunchParams()
        launch.grid_x, launch.grid_y, launch.grid_z = kernel.grid(batch, columns)
        launch.block_x, launch.shared_mem = kernel.num_threads, kernel.shared_bytes
        scalars = plugins.SymIntExprs(1)
        scalars[0] = plugins.SymInt32(columns)
        return kernel.name, kernel.ptx, launch, scalars


def _is_defined(plugins: ModuleType, attention: AttentionName) -> bool:
    """Return whether a plugin is registered, since TensorRT registers a name only once.

    Raises:
        EngineError: an earlier attempt failed halfway.
    """
    registry: dict[str, Any] = import_module(f"{plugins.__name__}._lib").QDP_REGISTRY
    found = registry.get(plugin_id(attention))
    if found is not None and found.aot_impl_func is None:
        raise EngineError(
            f"the plugin {plugin_id(attention)} is only partly registered in this process: build "
            "in another process, or use --plugin off"
        )
    return found is not None
