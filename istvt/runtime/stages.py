"""Time named stages and summarise them as percentiles, in constant memory."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

KEPT_SAMPLES = 4096  # per stage; the percentiles cover only these, the latest


@dataclass(frozen=True)
class StageSummary:
    """One stage's time over a run, in milliseconds per call; `share` is of all stages' time."""

    stage: str
    calls: int
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    total_s: float
    share: float


class StageTimers:
    """Measures each stage's calls."""

    def __init__(self) -> None:
        self._latest: dict[str, deque[float]] = {}
        self._calls: dict[str, int] = {}
        self._total_s: dict[str, float] = {}

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Measure the block as one call of a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - start)

    def add(self, stage: str, seconds: float) -> None:
        """Count one call."""
        self._latest.setdefault(stage, deque(maxlen=KEPT_SAMPLES)).append(seconds)
        self._calls[stage] = self._calls.get(stage, 0) + 1
        self._total_s[stage] = self._total_s.get(stage, 0.0) + seconds

    def summary(self) -> list[StageSummary]:
        """Summarise the stages, in the order in which they first ran."""
        everything_s = sum(self._total_s.values())
        return [self._summarise(stage, everything_s) for stage in self._latest]

    def _summarise(self, stage: str, everything_s: float) -> StageSummary:
        p50, p90, p95, p99 = percentiles_ms(self._latest[stage])
        total_s = self._total_s[stage]
        return StageSummary(
            stage=stage,
            calls=self._calls[stage],
            p50_ms=p50,
            p90_ms=p90,
            p95_ms=p95,
            p99_ms=p99,
            total_s=total_s,
            share=total_s / everything_s if everything_s else 0.0,
        )


def percentiles_ms(seconds: "deque[float] | list[float]") -> tuple[float, float, float, float]:
    """Return p50, p90, p95 and p99 in milliseconds."""
    p50, p90, p95, p99 = np.percentile(np.asarray(seconds) * 1e3, [50, 90, 95, 99])
    return float(p50), float(p90), float(p95), float(p99)


def format_stages(summary: list[StageSummary]) -> str:
    """Format a summary as a table for the terminal."""
    lines = [f"{'stage':<10}{'calls':>8}{'p50 ms':>10}{'p90 ms':>10}{'p99 ms':>10}{'share':>8}"]
    for row in summary:
        lines.append(
            f"{row.stage:<10}{row.calls:>8}{row.p50_ms:>10.2f}{row.p90_ms:>10.2f}"
            f"{row.p99_ms:>10.2f}{row.share:>8.0%}"
        )
    return "\n".join(lines)
