"""The names that are used of TensorRT-RTX and of classic TensorRT, 10.x and 11.x, are there.

Classic TensorRT cannot be loaded without its library, so its names are looked up among the texts
of its compiled bindings; where a longer name ends in one, that is taken for it.
"""

import ast
import inspect
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path

import pytest

from istvt.bundle import flavour
from istvt.export.engines import builder as engine
from istvt.runtime.backends.cuda import engine as engine_runner

LIBRARY = {"trt", "_trt", "builder", "network", "parser", "config", "profile", "context", "layer"}
LIBRARY |= {"_engine", "_runtime", "_cache", "cache", "measured", "error", "severities", "settings"}
LIBRARY |= {"strategies"}
RTX_ONLY = {
    *("ComputeCapability", "num_compute_capabilities", "set_compute_capability"),
    *("CudaGraphStrategy", "WHOLE_GRAPH_CAPTURE", "cuda_graph_strategy"),
    *("DynamicShapesKernelSpecializationStrategy", "EAGER"),
    "dynamic_shapes_kernel_specialization_strategy",
    *("create_runtime_cache", "set_runtime_cache", "deserialize"),
}


def names_used():
    """What our modules take from objects of the library, by the names of our variables."""
    found = set()
    for module in (engine, flavour, engine_runner):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            attributes = []
            while isinstance(node, ast.Attribute):
                attributes.insert(0, node.attr)
                node = node.value
            if isinstance(node, ast.Name):
                path = [node.id, *attributes]
                path = path[1:] if path[0] == "self" else path
                if path and path[0] in LIBRARY:
                    found.update(takewhile(lambda name: name[0] != "_", path[1:]))
    return found


def test_the_names_are_found():
    names = names_used()
    assert len(names) > 45
    assert {"set_device_memory", "device_memory_size_v2", "USER_MANAGED", "decomposable"} <= names
    assert names > RTX_ONLY


def test_tensorrt_rtx_has_them():
    trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed (extra rtx)")
    known = set(dir(trt))
    for value in vars(trt).values():
        if inspect.isclass(value):
            known.update(dir(value))
            known.update(name for inner in vars(value).values() for name in dir(inner))
    assert names_used() - known == set()


@pytest.mark.skipif(find_spec("tensorrt_bindings") is None, reason="no bindings of TensorRT")
def test_classic_tensorrt_has_them():
    (folder,) = find_spec("tensorrt_bindings").submodule_search_locations
    texts = (Path(folder) / "tensorrt.so").read_bytes() + (
        Path(folder) / "__init__.py"
    ).read_bytes()
    missing = {name for name in names_used() if name.encode() + b"\0" not in texts}
    assert missing <= RTX_ONLY
