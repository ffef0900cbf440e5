"""Define the detector contract: all that most of the toolkit needs of a model.

A model is a per-frame encoder and a window head. It is a class and no `typing.Protocol`: training
and saving need what every `nn.Module` has, and `forward` is written once. What only some models
have is a capability, a protocol further down, which a model declares by having its methods.
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
    """A detector in the two halves that a sliding window wants.

    Attributes:
        preset: what fixes its shapes; of another type for each architecture.
        spec: what most of the toolkit needs to know of it.

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
            mask: `(m, T)` bool, True for a frame that counts, at least one a window; None counts
                all. Exported graphs take none.

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
        pixels = faces.to(dtype)  # first: TensorRT moves no uint8 about
        return pixels.permute(0, 3, 1, 2) * PIXEL_SCALE + PIXEL_OFFSET

    def check_features(self, features: Tensor) -> None:
        """Refuse features of windows that `score` cannot take."""
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
    """A model with the two attentions that the toolkit has kernels and ONNX nodes for."""

    def attention_kernels(
        self, *, temporal: AttentionKernel | None = None, spatial: AttentionKernel | None = None
    ) -> AbstractContextManager[None]:
        """Put other kernels in the place of the model's own while the block runs."""

    def zero_qkv(self) -> Tensor:
        """Make what a kernel gets for one window, of zeros, in the model's type and place."""


@runtime_checkable
class FoldsEncoder(Protocol):
    """A model that can fold norms and the normalisation of pixels into its weights for export."""

    def folded_encoder(self) -> nn.Module:
        """Copy what `encode` does, folded; the model stays as it is."""


@runtime_checkable
class HasFp32Head(Protocol):
    """A model whose last layers stay in fp32 where the others are in half precision."""

    def keep_head_in_fp32(self) -> None:
        """Put them back into fp32, in place, after the model was put into half precision."""


@runtime_checkable
class HasShortcut(Protocol):
    """A model that leaves out what the logit does not need."""

    def score_in_full(self, features: Tensor) -> Tensor:
        """Do what `score` does without that shortcut; the result is the same."""


@runtime_checkable
class CheckpointsBlocks(Protocol):
    """A model of blocks that can compute their inside again for the gradients."""

    def checkpoint_blocks(self) -> None:
        """Let every block keep only its input, in place; parameters, names and results stay."""


@runtime_checkable
class SparesDecay(Protocol):
    """A model with parameters that weight decay would harm, besides biases and norms."""

    no_weight_decay: frozenset[str]  # the last parts of their names
