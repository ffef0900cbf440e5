"""Score faces with graphs on the GPU, keeping all intermediate data there.

TensorRT and ONNX Runtime share this code: pinned host memory, one stream, and a single
synchronisation, which returns the logits.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import numpy as np

from istvt.records import FloatArray, UInt8Array
from istvt.runtime.backends.cuda.device import Device, letting_go
from istvt.runtime.backends.cuda.graph import CudaGraph, GraphsBySize, capture
from istvt.scorer import (
    ClosingScorer,
    Features,
    ScorerInfo,
    check_faces,
    check_windows,
    no_logits,
)

SLOTS_OF_A_SLAB = 64


class FaceFeatures:
    """The features of one face on the device; its slot becomes free when this is deleted."""

    def __init__(self, pool: "FeaturePool", address: int) -> None:
        self._pool, self.address = pool, address

    def __del__(self) -> None:
        self._pool.give_back(self.address)


class FeaturePool:
    """Grows by slabs and never shrinks, so memory is constant once all cameras are busy."""

    def __init__(self, device: Device, slot_bytes: int) -> None:
        self._device = device
        self._slot_bytes = slot_bytes
        self._free: list[int] = []
        self._slabs: list[int] = []

    def take(self) -> FaceFeatures:
        """Return a slot of any content.

        Raises:
            DeviceMemoryError: no slab can be allocated.
        """
        if not self._free:
            slab = self._device.allocate(SLOTS_OF_A_SLAB * self._slot_bytes)
            self._slabs.append(slab)
            self._free.extend(slab + i * self._slot_bytes for i in range(SLOTS_OF_A_SLAB))
        return FaceFeatures(self, self._free.pop())

    def give_back(self, address: int) -> None:
        """Return a slot to the pool, from any thread."""
        self._free.append(address)

    def close(self) -> None:
        """Free the slabs and invalidate the remaining handles."""
        for slab in self._slabs:
            self._device.free(slab)
        self._slabs.clear()


FLOAT_BYTES = 4
STAGES = 2  # faces are copied into one while the other is transferred


class Runner(Protocol):
    """One graph with one input and one output, ready on the device.

    Attributes:
        max_batch: rows of one call.
        can_be_captured: whether a CUDA graph may be made of a call.
    """

    max_batch: int
    can_be_captured: bool

    def run(self, batch: int, source: int, target: int) -> None:
        """Queue one pass from one address to another on the device's stream."""
        ...

    def close(self) -> None:
        """Free its resources."""
        ...


class DeviceScorer(ClosingScorer):
    """See `Scorer`; a handle is a `FaceFeatures`."""

    def __init__(
        self, info: ScorerInfo, device: Device, *, encoder: Runner, window: Runner
    ) -> None:
        self.info = info
        self._device, self._encoder, self._window = device, encoder, window
        spec = info.spec
        self._face_bytes = spec.image_size**2 * 3
        self._row_bytes = spec.feature_size * FLOAT_BYTES
        self._graphs = GraphsBySize[CudaGraph](can_capture=window.can_be_captured)
        with device.active():
            self._pool = FeaturePool(device, self._row_bytes)
            self._stages = _Stages(device, encoder.max_batch * self._face_bytes)
            self._logits = device.pinned(window.max_batch * FLOAT_BYTES)
            self._faces_at = device.allocate(encoder.max_batch * self._face_bytes)
            self._encoded_at = device.allocate(encoder.max_batch * self._row_bytes)
            rows = window.max_batch * spec.num_frames
            self._windows_at = device.allocate(rows * self._row_bytes)
            self._logits_at = device.allocate(window.max_batch * FLOAT_BYTES)

    def encode(self, faces: UInt8Array) -> list[Features]:
        """See `Scorer.encode`."""
        check_faces(faces, self.info.spec)
        with self._active():
            return [
                handle
                for start in range(0, len(faces), self._encoder.max_batch)
                for handle in self._encode_batch(faces[start : start + self._encoder.max_batch])
            ]

    def score(self, windows: Sequence[Sequence[Features]]) -> FloatArray:
        """See `Scorer.score`."""
        check_windows(windows, self.info.spec)
        if not windows:
            return no_logits()
        limit = self._window.max_batch
        with self._active():
            batches = [windows[start : start + limit] for start in range(0, len(windows), limit)]
            return np.concatenate([self._score_batch(batch) for batch in batches])

    def synchronize(self) -> None:
        """See `Scorer.synchronize`."""
        with self._active():
            self._device.synchronize()

    def free(self) -> None:
        """See `ClosingScorer.free`; a lost device raises nothing here."""
        with letting_go(), self._device.active():
            self._device.synchronize()  # queued work still reads and writes what is freed here
            for graph in self._graphs.made():
                graph.close()
            self._encoder.close()
            self._window.close()
            self._pool.close()
            for address in (self._faces_at, self._encoded_at, self._windows_at, self._logits_at):
                self._device.free(address)
        self._device.close()

    def _active(self) -> AbstractContextManager[None]:
        self.check_open()  # access to freed pinned memory would end the process
        return self._device.active()

    def _encode_batch(self, faces: UInt8Array) -> list[FaceFeatures]:
        with self._stages.filled(faces) as source:
            self._device.copy_in(self._faces_at, source)
        self._encoder.run(len(faces), self._faces_at, self._encoded_at)
        handles = [self._pool.take() for _ in faces]
        for row, handle in enumerate(handles):
            source_at = self._encoded_at + row * self._row_bytes
            self._device.copy(handle.address, source_at, self._row_bytes)
        return handles

    def _score_batch(self, windows: Sequence[Sequence[FaceFeatures]]) -> FloatArray:
        rows = [handle for window in windows for handle in window]
        for row, handle in enumerate(rows):
            target = self._windows_at + row * self._row_bytes
            self._device.copy(target, handle.address, self._row_bytes)
        self._run_window(len(windows))
        logits = self._logits[: len(windows) * FLOAT_BYTES]
        self._device.copy_out(logits, self._logits_at)
        self._device.synchronize()
        return logits.view(np.float32).copy()

    def _run_window(self, batch: int) -> None:
        """Queue a pass: the first of a size directly, later ones as a graph where possible."""

        def queue() -> None:
            self._window.run(batch, self._windows_at, self._logits_at)

        graph = self._graphs.find(batch, lambda: capture(self._device.stream, queue))
        if graph is not None:
            graph.launch()
            return
        queue()
        self._graphs.note_pass(batch)


class _Stages:
    """Pinned arrays used in turn, so that filling one need not wait for the copy of another."""

    def __init__(self, device: Device, num_bytes: int) -> None:
        self._device = device
        self._arrays = [device.pinned(num_bytes) for _ in range(STAGES)]
        self._marks: list[Any] = [None] * STAGES
        self._turn = 0

    @contextmanager
    def filled(self, faces: UInt8Array) -> Iterator[UInt8Array]:
        """Fill the next array with faces, and yield it for a copy queued within the block."""
        turn, self._turn = self._turn, (self._turn + 1) % STAGES
        if self._marks[turn] is not None:
            mark, self._marks[turn] = self._marks[turn], None
            self._device.wait(mark)
        array = self._arrays[turn][: faces.size]
        np.copyto(array.reshape(faces.shape), faces)
        yield array
        self._marks[turn] = self._device.record()
