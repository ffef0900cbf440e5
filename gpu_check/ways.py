"""Run the two stages of a streamed frame in each way that PyTorch has."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from gpu_check.clock import Clock
from istvt.extras import require
from istvt.records import FloatArray, UInt8Array

if TYPE_CHECKING:
    from torch import Tensor

    from istvt.models.istvt.model import ISTVT

WayName: TypeAlias = Literal[
    "eager", "compiled", "compiled, tuned", "fused", "fused, graph", "fused, compiled"
]
OURS: tuple[WayName, ...] = ("fused", "fused, graph", "fused, compiled")

MODES: dict[WayName, str] = {
    "compiled": "reduce-overhead",
    "compiled, tuned": "max-autotune",
    "fused, compiled": "reduce-overhead",
}


@dataclass(frozen=True, eq=False)
class Stages:
    """A streamed frame of some cameras, on buffers that stay where they are.

    Attributes:
        pixels: `(b, S, S, 3)` uint8, one new face of each window.
        features: `(b, T, h*w, C)`, the faces of each window.
        encode: gives the features `(b, h*w, C)` of `pixels`.
        score: gives the logits `(b,)` of `features`.
    """

    pixels: "Tensor"
    features: "Tensor"
    encode: "Callable[[], Tensor]"
    score: "Callable[[], Tensor]"

    def frame(self, faces: "Tensor") -> "Tensor":
        """Take faces `(b, S, S, 3)` from the host to logits on the host."""
        self.pixels.copy_(faces, non_blocking=True)
        self.features[:, -1] = self.encode()
        return self.score().cpu()

    def logits(self, windows: "UInt8Array") -> FloatArray:
        """Take windows `(n * b, T, S, S, 3)` to logits, b at a time, face by face as streams do."""
        import torch

        found = []
        for some in torch.from_numpy(windows).split(len(self.pixels)):
            for position in range(some.shape[1]):
                self.pixels.copy_(some[:, position])
                self.features[:, position] = self.encode()
            found.append(self.score().float().cpu())
        logits: FloatArray = torch.cat(found).numpy()
        return logits


def make_stages(
    way: WayName, model: "ISTVT", *, batch: int, clock: Clock, stack: ExitStack
) -> Stages:
    """Make a model ready to run in one way.

    Args:
        way: how.
        model: on its device, in its number format; the way is its own from then on.
        batch: windows of one pass.
        clock: records graphs.
        stack: ends the way.

    Raises:
        MissingExtraError: the way needs Triton.
    """
    torch = require("torch", extra="gpu")
    preset = model.preset
    weight = model.head[-1].weight
    size = preset.image_size
    pixels = torch.zeros(batch, size, size, 3, dtype=torch.uint8, device=weight.device)
    shape = (batch, preset.num_frames, preset.num_patches, preset.embed_dim)
    features = torch.zeros(shape, dtype=weight.dtype, device=weight.device)
    encode: Any = model.encode
    score: Any = model.score
    if way in OURS:
        if weight.is_cuda:
            require("triton", extra="gpu")
        from istvt.kernels.ops import fused_attention

        stack.enter_context(fused_attention(model))
    if way in MODES:
        encode, score = (
            torch.compile(function, mode=MODES[way], dynamic=False) for function in (encode, score)
        )

    def encode_pixels() -> "Tensor":
        return encode(pixels)

    def score_features() -> "Tensor":
        return score(features)

    if way == "fused, graph":
        return Stages(pixels, features, clock.record(encode_pixels), clock.record(score_features))
    return Stages(pixels, features, encode_pixels, score_features)
