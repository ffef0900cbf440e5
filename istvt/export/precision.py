"""fp32 graphs in, fp16 graphs out: precision is a property of the ONNX files.

The conversion is ONNX Runtime's; inputs and outputs keep their types, so the host sees no change.
"""

from pathlib import Path

import onnx

from istvt.export.bundle import Bundle
from istvt.export.functions import inline_bodies
from istvt.extras import require


def halve_graphs(bundle: Bundle) -> None:
    """Rewrite the bundle's graphs in fp16, in place."""
    onnx.save(_halved(bundle.encoder), bundle.encoder)
    window = _halved(bundle.window)
    weights = bundle.window.with_name(bundle.window.name + ".data")
    weights.unlink()
    onnx.save(window, bundle.window, save_as_external_data=True, location=weights.name)
    graph = onnx.load(bundle.window, load_external_data=False)
    onnx.save(inline_bodies(graph), bundle.inlined_window)


def _halved(path: Path) -> onnx.ModelProto:
    float16 = require("onnxruntime.transformers.float16", extra="cpu")
    return float16.convert_float_to_float16(onnx.load(path), keep_io_types=True)
