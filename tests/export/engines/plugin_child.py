"""Loads the plugin's sources of classic TensorRT without its library, and calls one of our plugins.

Run in a process of its own. The names of TensorRT are those of TensorRT-RTX, as far as it has
them; nothing is ever registered with that: its registry is replaced.
"""

import importlib.util
import json
import re
import sys
import types

import tensorrt_rtx

from istvt.export.engines.plugin import plugin_id, register_plugins


class Expression:
    """A size that is known or a formula of such; stands for `IDimensionExpr`."""

    def __init__(self, value, *, is_known=True):
        self.value, self.is_known = value, is_known

    def is_constant(self):
        return self.is_known

    def get_constant_value(self):
        return self.value


class Builder:
    """Stands for `IExprBuilder`."""

    def constant(self, value):
        return Expression(value)

    def operation(self, kind, first, second):
        value = {
            "SUM": lambda a, b: a + b,
            "SUB": lambda a, b: a - b,
            "PROD": lambda a, b: a * b,
            "FLOOR_DIV": lambda a, b: a // b,
        }[kind.name](first.value, second.value)
        return Expression(value, is_known=first.is_known and second.is_known)


class Registry:
    def __init__(self):
        self.creators = {}

    def register_creator(self, creator, namespace):
        self.creators[creator.name, "1", namespace] = creator

    def get_creator(self, name, version, namespace):
        return self.creators[name, version, namespace]


def load_plugin_sources():
    """Put a module `tensorrt` and its `tensorrt.plugin` in place; gives both."""
    names = {name: getattr(tensorrt_rtx, name) for name in dir(tensorrt_rtx) if name[0] != "_"}
    registry = Registry()
    fake = types.ModuleType("tensorrt")
    fake.__dict__.update(names, __version__="10.16", __path__=[])
    fake.IDimensionExpr = Expression
    fake.get_plugin_registry = lambda: registry
    for name in ("IPluginV3QuickAOTBuild", "ISymExpr", "QuickPluginCreationRequest"):
        setattr(fake, name, type(name, (), {"__init__": lambda self, *arguments: None}))
    fake.IPluginCreatorV3Quick = type("Creator", (), {"__init__": lambda self: None})
    sys.modules["tensorrt"] = fake
    bindings = importlib.util.find_spec("tensorrt_bindings")
    folder = bindings.submodule_search_locations[0] + "/plugin"
    spec = importlib.util.spec_from_file_location(
        "tensorrt.plugin", folder + "/__init__.py", submodule_search_locations=[folder]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules["tensorrt.plugin"] = fake.plugin = module
    spec.loader.exec_module(module)
    return fake, module, registry


def main(attention, type_name, capability, *sizes):
    trt, plugins, registry = load_plugin_sources()
    register_plugins(trt, compute_capability=int(capability))
    register_plugins(trt, compute_capability=int(capability))  # once, whatever is asked
    definition = sys.modules["tensorrt.plugin._lib"].QDP_REGISTRY[plugin_id(attention)]
    tensors = sys.modules["tensorrt.plugin._tensor"]
    tensors.SymIntExpr._exprBuilder = Builder()
    qkv = plugins.TensorDesc()
    qkv.dtype = getattr(trt.DataType, type_name)
    qkv.shape_expr = tensors.ShapeExprs(6)
    for axis, size in enumerate(map(int, sizes)):
        known = axis not in (0,)  # the batch is free
        qkv.shape_expr[axis] = tensors.ShapeExpr(Expression(size, is_known=known))
    mixed = definition.register_func(qkv)
    combinations = definition.autotune_func(qkv, (mixed,))
    name, ptx, launch, scalars = definition.aot_impl_func(qkv, (mixed,), 0)
    pairs = combinations[0]._get_combinations()
    answer = {
        "creators": [list(key) for key in registry.creators],
        "shape": [size._expr.value for size in mixed.shape_expr],
        "type": mixed.dtype.name,
        "types": [[kind.name for kind in pair.types] for pair in pairs],
        "entry": f".entry {name}" in ptx,
        "target": next(line for line in ptx.splitlines() if line.startswith(".target")),
        "parameters": re.findall(r"\.param \.(\w+)", ptx),
        "grid": [getattr(launch, f"grid_{axis}")._expr.value for axis in "xyz"],
        "block": [getattr(launch, f"block_{axis}")._expr.value for axis in "xyz"],
        "shared": launch.shared_mem._expr.value,
        "scalars": [scalar._expr.value for scalar in scalars],
        "scalar_kinds": [isinstance(scalar, plugins.SymInt32) for scalar in scalars],
        "launch_kind": type(launch).__name__,
    }
    sys.stdout.write("\n" + json.dumps(answer) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
