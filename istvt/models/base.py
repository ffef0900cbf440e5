"""Define the detector contract: what most of the toolkit needs from a model.

A model has a per-frame encoder and a window head. The contract is a class, not a `typing.Protocol`:
training and saving need the methods of `nn.Module`, and `forward` is written once. Capabilities of
only some models are protocols, below; a model declares one by having its methods.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor, nn

from istvt.errors import UsageError
from istvt.presets import ModelSpec, Preset, check_preset

PIXEL_SCALE, PIXEL_OFFSET = 2.0 / 255.0, -1.0  # uint8 to [-1, 1]: mean = std = 0.5
AttentionKernel: TypeAlias = Callable[[Tensor], Tensor]  # qkv to mixed values


class VideoModel(nn.Module, ABC):
    """A detector in two halves, so that a sliding window encodes each frame once.

    Attributes:
        preset: fixes the model's shapes; each architecture has its own type.
        spec: the shapes and names that most of the toolkit needs.

    Raises:
        UsageError: the preset holds a shape that the model cannot have.
    """

    def __init__(self, preset: Preset) -> None:
        check_preset(preset)
        super().__init__()
        self.preset = preset
        self.spec: ModelSpec = preset.spec

    @abstractmethod
    def encode(self, faces: Tensor) -> Tensor:
        """Map raw faces to features.

        Args:
            faces: `(n, S, S, 3)`, uint8, or float in 0 to 255.

        Returns:
            `(n, *feature_shape)`.

        Raises:
            UsageError: the faces are not of the model's size.
        """

    @abstractmethod
    def score(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map the features of windows to logits; above 0 leans to fake.

        Args:
            features: `(m, T, *feature_shape)`.
            mask: `(m, T)` bool, True for frames that count, at least one per window; None counts
                all. Exported graphs take no mask.

        Returns:
            `(m,)` logits.

        Raises:
            UsageError: a shape is not the model's, or the model takes no mask.
        """

    def forward(self, faces: Tensor) -> Tensor:
        """Map windows of raw faces `(m, T, S, S, 3)` to logits `(m,)`.

        Raises:
            UsageError: the windows are not of the model's shape.
        """
        size = self.spec.image_size
        check_rows(faces, (self.spec.num_frames, size, size, 3), "windows", self.spec)
        features = self.encode(faces.flatten(0, 1))
        return self.score(features.unflatten(0, faces.shape[:2]))

    def normalise(self, faces: Tensor, dtype: torch.dtype) -> Tensor:
        """Map raw faces `(n, S, S, 3)` to images `(n, 3, S, S)` in [-1, 1].

        Raises:
            UsageError: the faces are not of the model's size.
        """
        size = self.spec.image_size
        check_rows(faces, (size, size, 3), "faces", self.spec)
        pixels = faces.to(dtype)  # first, since TensorRT cannot permute uint8
        return pixels.permute(0, 3, 1, 2) * PIXEL_SCALE + PIXEL_OFFSET

    def check_features(self, features: Tensor) -> None:
        """Refuse features whose shape `score` cannot take."""
        shape = (self.spec.num_frames, *self.spec.feature_shape)
        check_rows(features, shape, "features", self.spec)


def check_rows(given: Tensor, row_shape: tuple[int, ...], what: str, spec: ModelSpec) -> None:
    """Refuse a batch whose rows have another shape."""
    if given.ndim != len(row_shape) + 1 or given.shape[1:] != row_shape:
        raise UsageError(
            f"{what} have shape {tuple(given.shape)}: preset {spec.name!r} takes "
            f"({', '.join(map(str, ('n', *row_shape)))}) for any n"
        )


@runtime_checkable
class HasAttention(Protocol):
    """A model with the two attentions for which the toolkit has kernels and ONNX nodes."""

    def attention_kernels(
        self, *, temporal: AttentionKernel | None = None, spatial: AttentionKernel | None = None
    ) -> AbstractContextManager[None]:
        """Replace the model's kernels by others while the block runs."""

    def zero_qkv(self) -> Tensor:
        """Make a kernel's input for one window, all zeros, with the model's dtype and device."""


@runtime_checkable
class FoldsEncoder(Protocol):
    """A model that can fold norms and the normalisation of pixels into its weights for export."""

    def folded_encoder(self) -> nn.Module:
        """Return a folded copy of the encoder; the model is unchanged."""


@runtime_checkable
class HasFp32Head(Protocol):
    """A model whose last layers stay in fp32 while the others run in half precision."""

    def keep_head_in_fp32(self) -> None:
        """Convert these layers back to fp32, in place, after the model became half precision."""


@runtime_checkable
class HasShortcut(Protocol):
    """A model whose `score` skips work that the logit does not need."""

    def score_in_full(self, features: Tensor) -> Tensor:
        """Score without that shortcut; the result is the same."""


@runtime_checkable
class CheckpointsBlocks(Protocol):
    """A model whose blocks can recompute their activations for the gradients."""

    def checkpoint_blocks(self) -> None:
        """Make every block keep only its input, in place; parameters and results do not change."""


@runtime_checkable
class SparesDecay(Protocol):
    """A model with parameters that weight decay would harm, besides biases and norms."""

    no_weight_decay: frozenset[str]  # the last segments of their names
