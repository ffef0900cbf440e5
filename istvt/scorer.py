"""Define the scorer: it maps raw faces to features, and windows of features to logits.

Every runtime implements this protocol, in the modules under `backends/`.
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
Features: TypeAlias = Any  # one face's features, in a form and place that the backend chooses


@dataclass(frozen=True)
class ScorerInfo:
    """What a scorer runs, and on which device.

    Attributes:
        precision: of the backend's arithmetic: fp32, fp16, bf16, int8.
        bundle_digest: the loaded bundle's.
    """

    backend: str
    device: str
    precision: str
    bundle_digest: str
    spec: ModelSpec


class Scorer(Protocol):
    """Encodes and scores in one runtime; a context manager that frees its memory at the end.

    Not thread-safe.
    """

    info: ScorerInfo

    def encode(self, faces: UInt8Array) -> list[Features]:
        """Turn faces `(n, S, S, 3)` into features on the device, one handle per face.

        Raises:
            UsageError: the faces have another shape or type.
        """
        ...

    def score(self, windows: Sequence[Sequence[Features]]) -> FloatArray:
        """Turn windows of T handles each into `(m,)` logits.

        Raises:
            UsageError: a window does not have T handles.
        """
        ...

    def synchronize(self) -> None:
        """Wait for all queued work: `encode` may return before the device has finished."""
        ...

    def close(self) -> None:
        """Free the device's memory; the scorer cannot be used afterwards.

        A second call does nothing; all other methods raise `BackendError` from then on.
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
    """Closes a scorer once, and refuses calls afterwards; a base class."""

    _is_closed = False

    @abstractmethod
    def free(self) -> None:
        """Free all memory; called once."""

    def close(self) -> None:
        """See `Scorer.close`."""
        if not self._is_closed:
            self._is_closed = True
            self.free()

    def check_open(self) -> None:
        """Refuse to work on freed memory.

        Raises:
            BackendError: the scorer is closed.
        """
        if self._is_closed:
            raise BackendError("the scorer is closed: open another one")


def check_device(device: str) -> DeviceName:
    """Return a device's name, or refuse an unknown one."""
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
    """Refuse windows whose length is not the model's."""
    for window in windows:
        if len(window) != spec.num_frames:
            raise UsageError(
                f"a window holds {len(window)} faces: preset {spec.name!r} takes {spec.num_frames}"
            )


def no_logits() -> FloatArray:
    """Return the logits of zero windows."""
    return np.zeros(0, dtype=np.float32)
