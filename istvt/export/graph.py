"""Trace a trained model into its two ONNX graphs, `encoder.onnx` and `window.onnx`.

- encoder: `faces (n, S, S, 3) uint8 -> features (n, *feature_shape)`; the normalisation is inside,
  and folded into the weights together with the norms where the model can do so.
- window: `features (m, T, *feature_shape) -> logits (m,)`; each of ISTVT's attentions is one
  `istvt` node, except in the last block.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from istvt.kernels.functions import (
    STANDARD_OPSET,
    append_bodies,
    inline_bodies,
    self_subtract_attention_node,
    spatial_attention_node,
)
from istvt.models.base import FoldsEncoder, HasAttention, VideoModel


class EncoderGraph(nn.Module):
    """The encoder as the host calls it, where the model has none of its own for export."""

    def __init__(self, model: VideoModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, faces: Tensor) -> Tensor:
        """Map `(n, S, S, 3)` uint8 to `(n, *feature_shape)`."""
        return self.model.encode(faces)


class WindowGraph(nn.Module):
    """The window's half as the host calls it, without a mask."""

    def __init__(self, model: VideoModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: Tensor) -> Tensor:
        """Map `(m, T, *feature_shape)` to `(m,)`."""
        return self.model.score(features)


def export_encoder(model: VideoModel, path: Path) -> None:
    """Write `encoder.onnx`, weights inside."""
    size = model.spec.image_size
    faces = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    graph = model.folded_encoder() if isinstance(model, FoldsEncoder) else EncoderGraph(model)
    program = _trace(graph.eval(), faces, batch="n", names=("faces", "features"))
    program.save(path, external_data=False)


def export_window(model: VideoModel, path: Path, *, inlined: Path) -> None:
    """Write `window.onnx`, its weights beside it in `window.onnx.data`.

    Args:
        model: in evaluation mode.
        path: of the graph with our nodes and their bodies, where the model has attentions.
        inlined: of a copy without our nodes, in the same folder, sharing the weights; for
            runtimes that know no local functions.
    """
    spec = model.spec
    features = torch.zeros(2, spec.num_frames, *spec.feature_shape)
    with _attention_nodes(model):
        program = _trace(WindowGraph(model), features, batch="m", names=("features", "logits"))
    program.save(path, external_data=True)
    graph = onnx.load(path, load_external_data=False)
    if isinstance(model, HasAttention):
        append_bodies(graph)
        onnx.save(graph, path)
    onnx.save(inline_bodies(graph), inlined)


def _attention_nodes(model: VideoModel) -> AbstractContextManager[None]:
    if not isinstance(model, HasAttention):
        return nullcontext()
    return model.attention_kernels(
        temporal=self_subtract_attention_node, spatial=spatial_attention_node
    )


def _trace(
    module: nn.Module, example: Tensor, *, batch: str, names: tuple[str, str]
) -> torch.onnx.ONNXProgram:
    with _quiet_exporter(), torch.no_grad():
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            opset_version=STANDARD_OPSET,
            input_names=[names[0]],
            output_names=[names[1]],
            dynamic_shapes=({0: batch},),
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    _forget_origin(program.model)
    return program


def _forget_origin(model: Any) -> None:
    """Remove the exporter's stack traces, which name the files of the exporting machine."""
    graph = model.graph
    values = [value for node in graph.all_nodes() for value in node.outputs]
    holders = [model, graph, *graph.all_nodes(), *graph.inputs, *graph.initializers.values()]
    for holder in (*holders, *values):
        holder.metadata_props.clear()


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep the exporter's advice on its own internals away from the user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
