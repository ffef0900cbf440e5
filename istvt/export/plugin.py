"""Our fused attention as a TensorRT plugin: its PTX is put into the engine, which needs no more.

The plugin is a quickly deployable one, ahead of time: TensorRT asks for it while it builds, and the
engine runs without Python, Triton or a library beside it. TensorRT-RTX takes no plugins: never
register one there, it ends the process.
"""
# No `from __future__ import annotations` here: TensorRT reads the annotations as classes.

from importlib import import_module
from types import ModuleType
from typing import Any

import onnx

from istvt.errors import EngineError
from istvt.export.functions import DOMAIN, SELF_SUBTRACT_ATTENTION
from istvt.export.kernels.compile import TARGETS, CompiledKernel, compile_ptx
from istvt.export.kernels.spec import DtypeName, KernelSpec
from istvt.extras import require

PLUGIN_ID = f"{DOMAIN}::{SELF_SUBTRACT_ATTENTION}"
PLUGIN_VERSION = "1"
TYPES: dict[str, DtypeName] = {"HALF": "fp16", "BF16": "bf16", "FLOAT": "fp32"}

_registered: dict[str, Any] = {}  # TensorRT's registry is one for the process too


def register_plugin(trt: ModuleType, *, compute_capability: int) -> None:
    """Make `istvt::SelfSubtractAttention` known to classic TensorRT, once in a process.

    Args:
        trt: classic TensorRT, 10.x or 11.x.
        compute_capability: of the GPU that is built for.

    Raises:
        EngineError: it is TensorRT-RTX, there is no kernel for the GPU, the plugin is registered
            for another one, or this TensorRT is too old for plugins ahead of time.
        MissingExtraError: Triton is not installed.
    """
    if "rtx" in trt.__name__:
        raise EngineError("TensorRT-RTX takes no plugins: use --plugin off, or --engine tensorrt")
    if compute_capability not in TARGETS:
        raise EngineError(
            f"the plugin has no kernel for compute capability {compute_capability}, only for "
            f"{', '.join(map(str, TARGETS))}: use --plugin off"
        )
    require("triton", extra="gpu")  # TensorRT would ask for it in the middle of the build
    if _registered.setdefault(PLUGIN_ID, compute_capability) != compute_capability:
        raise EngineError(
            f"the plugin is registered for compute capability {_registered[PLUGIN_ID]} in this "
            f"process: build for {compute_capability} in another one"
        )
    plugins = import_module(f"{trt.__name__}.plugin")
    if not hasattr(plugins, "aot_impl"):
        raise EngineError(
            f"TensorRT {trt.__version__} has no plugins ahead of time: install 10.9 or later, or "
            "use --plugin off"
        )
    if PLUGIN_ID not in _registered_ids(plugins):
        _define(plugins, compute_capability)


def with_plugin_nodes(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Copy a window graph for TensorRT's parser: our nodes ask for the plugin, bodies are gone."""
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    del copy.functions[:]
    for node in copy.graph.node:
        if node.domain == DOMAIN and node.op_type == SELF_SUBTRACT_ATTENTION:
            node.attribute.extend(
                [
                    onnx.helper.make_attribute("plugin_namespace", DOMAIN),
                    onnx.helper.make_attribute("plugin_version", PLUGIN_VERSION),
                    onnx.helper.make_attribute("aot", 1),
                ]
            )
    return copy


def kernel_for(sizes: list[int], type_name: str, *, compute_capability: int) -> CompiledKernel:
    """Compile the kernel of one node.

    Args:
        sizes: T+1, heads and head_dim of its `qkv`.
        type_name: of its values, as TensorRT names it.
        compute_capability: of the GPU.

    Raises:
        EngineError: there is no kernel for the type.
    """
    if type_name not in TYPES:
        raise EngineError(f"no kernel takes {type_name}: export with --fp16 or --bf16")
    num_rows, num_heads, head_dim = sizes
    spec = KernelSpec("temporal", num_rows, num_heads, head_dim, TYPES[type_name])
    return compile_ptx(spec, compute_capability=compute_capability)


def _define(plugins: ModuleType, compute_capability: int) -> None:
    TensorDesc = plugins.TensorDesc

    @plugins.register(PLUGIN_ID)  # type: ignore[untyped-decorator]
    def describe(qkv: TensorDesc) -> TensorDesc:  # type: ignore[valid-type]
        """Map `(B, T+1, N, 3, heads, head_dim)` to `(B, T+1, N, heads * head_dim)`."""
        batch, rows, columns, _, heads, head_dim = qkv.shape_expr  # type: ignore[attr-defined]
        shape = (batch, rows, columns, heads * head_dim)
        return plugins.from_shape_expr(shape, dtype=qkv.dtype)  # type: ignore[attr-defined]

    @plugins.autotune(PLUGIN_ID)  # type: ignore[untyped-decorator]
    def list_types(
        qkv: TensorDesc,  # type: ignore[valid-type]
        outputs: tuple[TensorDesc],  # type: ignore[valid-type]
    ) -> list[plugins.AutoTuneCombination]:  # type: ignore[name-defined]
        """Take what the kernel takes, in rows without gaps."""
        return [plugins.AutoTuneCombination("FP16|BF16|FP32, FP16|BF16|FP32", "LINEAR")]

    @plugins.aot_impl(PLUGIN_ID)  # type: ignore[untyped-decorator]
    def compile_for(
        qkv: TensorDesc,  # type: ignore[valid-type]
        outputs: tuple[TensorDesc],  # type: ignore[valid-type]
        tactic: int,
    ) -> tuple[str, str, plugins.KernelLaunchParams, plugins.SymExprs]:  # type: ignore[name-defined]
        """Give the PTX, its grid for any batch and columns, and its one scalar."""
        batch, rows, columns, _, heads, head_dim = qkv.shape_expr  # type: ignore[attr-defined]
        sizes = [size.constant_value() for size in (rows, heads, head_dim)]
        kernel = kernel_for(
            sizes,
            qkv.dtype.name,  # type: ignore[attr-defined]
            compute_capability=compute_capability,
        )
        launch = plugins.KernelLaunchParams()
        launch.grid_x, launch.grid_y, launch.grid_z = kernel.grid(batch, columns)
        launch.block_x, launch.shared_mem = kernel.num_threads, kernel.shared_bytes
        scalars = plugins.SymIntExprs(1)
        scalars[0] = plugins.SymInt32(columns)
        return kernel.name, kernel.ptx, launch, scalars


def _registered_ids(plugins: ModuleType) -> set[str]:
    registry: dict[str, Any] = import_module(f"{plugins.__name__}._lib").QDP_REGISTRY
    return set(registry)
