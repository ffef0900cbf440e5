"""A bundle in, a scorer out: raw faces to features, windows of features to logits.

One protocol for every runtime; the modules under `backends/` fill it.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Protocol, TypeAlias, get_args

import numpy as np

from istvt.closing import ClosesOnExit
from istvt.errors import BackendError, UsageError
from istvt.presets import ModelSpec
from istvt.records import FloatArray, UInt8Array

DeviceName: TypeAlias = Literal["auto", "cpu", "cuda"]
Features: TypeAlias = Any  # one face's features, as and where the backend likes to keep them


@dataclass(frozen=True)
class ScorerInfo:
    """What runs where.

    Attributes:
        precision: of the arithmetic, as the backend runs it: fp32, fp16, bf16, int8.
        bundle_digest: of the bundle that was loaded.
    """

    backend: str
    device: str
    precision: str
    bundle_digest: str
    spec: ModelSpec


class Scorer(Protocol):
    """What every runtime offers; a context manager that frees its memory at the end.

    For one thread at a time.
    """

    info: ScorerInfo

    def encode(self, faces: UInt8Array) -> list[Features]:
        """Turn faces `(n, S, S, 3)` into features, one handle a face, kept on the device.

        Raises:
            UsageError: another shape or type.
        """
        ...

    def score(self, windows: Sequence[Sequence[Features]]) -> FloatArray:
        """Turn windows of T handles each into `(m,)` logits.

        Raises:
            UsageError: a window has not T handles.
        """
        ...

    def synchronize(self) -> None:
        """Return when all that was queued is done: `encode` may leave the device at work."""
        ...

    def close(self) -> None:
        """Free the device's memory; the scorer cannot be used afterwards.

        A second call does nothing, and each other one raises `BackendError` from then on.
        """
        ...

    def __enter__(self) -> "Scorer": ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class ClosingScorer(ClosesOnExit):
    """What scorers have in common: an end."""

    _is_closed = False

    @abstractmethod
    def free(self) -> None:
        """Free what is held; called once."""

    def close(self) -> None:
        """See `Scorer.close`."""
        if not self._is_closed:
            self._is_closed = True
            self.free()

    def check_open(self) -> None:
        """Refuse to work on what is freed.

        Raises:
            BackendError: the scorer is closed.
        """
        if self._is_closed:
            raise BackendError("the scorer is closed: open another one")


def check_device(device: str) -> DeviceName:
    """Refuse a name that is no device."""
    known = get_args(DeviceName)
    if device not in known:
        raise UsageError(f"no device is called {device!r}: choose one of {', '.join(known)}")
    return device  # type: ignore[return-value]


def check_faces(faces: UInt8Array, spec: ModelSpec) -> None:
    """Refuse faces that the encoder cannot take."""
    size = spec.image_size
    if faces.dtype != np.uint8 or faces.ndim != 4 or faces.shape[1:] != (size, size, 3):
        raise UsageError(
            f"faces are {faces.dtype} {faces.shape}: preset {spec.name!r} takes uint8 "
            f"(n, {size}, {size}, 3)"
        )


def check_windows(windows: Sequence[Sequence[Features]], spec: ModelSpec) -> None:
    """Refuse windows of another length than the model's."""
    for window in windows:
        if len(window) != spec.num_frames:
            raise UsageError(
                f"a window holds {len(window)} faces: preset {spec.name!r} takes {spec.num_frames}"
            )


def no_logits() -> FloatArray:
    """Give what scoring no window gives."""
    return np.zeros(0, dtype=np.float32)
