"""A clock, a scorer and a worker whose durations are known beforehand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from istvt.benchmarks.process import Loaded, Turn
from istvt.benchmarks.timing import FrameTime
from istvt.benchmarks.worker import Job
from istvt.bundle.manifest import Bundle
from istvt.closing import ClosesOnExit
from istvt.errors import BackendError
from istvt.presets import TINY, CropRecipe, ModelConfig, ModelPreset
from istvt.records import FloatArray, UInt8Array
from istvt.scorer import Features, ScorerInfo, check_faces, check_windows


def empty_bundle(folder: Path, preset: ModelPreset = TINY) -> Bundle:
    """A bundle for fakes, which open none of its files."""
    config = ModelConfig(preset=preset, crop=CropRecipe(size_px=preset.image_size))
    return Bundle(folder=folder, config=config, precision="fp32")


class FakeClock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class FakeScorer(ClosesOnExit):
    """Takes `encode_s` a face and `score_s` a window; counts faces, remembers windows.

    With `queues`, encoding takes its time where somebody waits for it, as on a GPU.
    """

    def __init__(
        self, clock: FakeClock, *, encode_s: float, score_s: float, queues: bool = False
    ) -> None:
        self.info = ScorerInfo("fake", "cpu", "fp32", bundle_digest="", spec=TINY.spec)
        self.faces_encoded = 0
        self.windows: list[tuple[int, ...]] = []
        self._clock, self._encode_s, self._score_s = clock, encode_s, score_s
        self._queues, self._queued_s = queues, 0.0

    def encode(self, faces: UInt8Array) -> list[Features]:
        check_faces(faces, TINY)
        first = self.faces_encoded
        self.faces_encoded += len(faces)
        self._queued_s += self._encode_s * len(faces)
        if not self._queues:
            self.synchronize()
        return list(range(first, self.faces_encoded))

    def score(self, windows: Sequence[Sequence[Features]]) -> FloatArray:
        check_windows(windows, TINY)
        self.synchronize()
        self.windows += [tuple(window) for window in windows]
        self._clock.now_s += self._score_s * len(windows)
        return np.zeros(len(windows), dtype=np.float32)

    def synchronize(self) -> None:
        self._clock.now_s += self._queued_s
        self._queued_s = 0.0


class FakeWorker:
    """Frames of the given durations, one list a round; fails at `fails_at` or after the last."""

    def __init__(
        self,
        rounds: Sequence[Sequence[FrameTime]],
        *,
        fails_at: str = "",
        log: list[str] | None = None,
        name: str = "",
    ) -> None:
        self._rounds = iter(rounds)
        self._fails_at, self._log, self._name = fails_at, log, name
        self.closed = 0
        self.turns_s: list[float] = []

    def load(self) -> Loaded:
        self._step("load")
        return Loaded(device="cpu", precision="fp32")

    def warm_up(self) -> int:
        self._step("warm_up")
        return 3

    def measure(self, seconds: float) -> Turn:
        self._step("measure")
        self.turns_s.append(seconds)
        times = next(self._rounds, None)
        if times is None:
            raise BackendError("broke after its last round")
        return Turn(times=tuple(times), peak_rss_mib=64.0)

    def close(self) -> None:
        self.closed += 1

    def _step(self, step: str) -> None:
        if self._log is not None:
            self._log.append(f"{step} {self._name}")
        if step == self._fails_at:
            raise BackendError(f"broke at {step}")


class FakeHouse:
    """Starts `FakeWorker`s by subject and keeps them; for `run_bench(start=...)`."""

    def __init__(self, rounds: dict[str, Any], *, fails_at: dict[str, str] | None = None) -> None:
        self.jobs: list[Job] = []
        self.workers: dict[str, FakeWorker] = {}
        self.log: list[str] = []
        self._rounds, self._fails_at = rounds, fails_at or {}

    def __call__(self, job: Job) -> FakeWorker:
        self.jobs.append(job)
        worker = FakeWorker(
            self._rounds[job.subject],
            fails_at=self._fails_at.get(job.subject, ""),
            log=self.log,
            name=job.subject,
        )
        self.workers[job.subject] = worker
        return worker


def frame(frame_ms: float, *, encoder_ms: float = 1.0) -> FrameTime:
    return FrameTime(encoder_s=encoder_ms / 1e3, window_s=(frame_ms - encoder_ms) / 1e3)
