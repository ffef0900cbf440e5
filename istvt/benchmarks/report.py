"""Summarise each subject's turns in a row, and format the report for `istvt bench --json`."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from istvt.benchmarks.process import Loaded, Turn
from istvt.benchmarks.timing import FrameTime, total_s
from istvt.benchmarks.worker import NAIVE
from istvt.environment import Environment
from istvt.presets import ModelPreset, Preset
from istvt.runtime.stages import percentiles_ms

SCHEMA_VERSION = 1
STAGES = ("encoder", "window", "frame")


@dataclass(frozen=True)
class Latency:
    """The duration of one stage of a frame, in ms, over all turns."""

    mean_ms: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Row:
    """The figures of one subject.

    Attributes:
        name: `naive`, or the backend.
        reason: why there are no figures; empty if there are.
        calls: measured frames; with few frames the percentiles mean little.
        stages: by the names in `STAGES`; `frame` is encoder and window together.
        windows_per_s: over all measured frames.
        peak_rss_mib: the most main memory that its process held, including while loading; None if
            the system does not report it.
        speedup: the median of `round_speedups`.
        round_speedups: the naive row's median frame time divided by this row's, in each round
            in which both ran.
    """

    name: str
    device: str = ""
    precision: str = ""
    reason: str = ""
    warm_up_calls: int = 0
    calls: int = 0
    stages: Mapping[str, Latency] | None = None
    windows_per_s: float | None = None
    peak_rss_mib: float | None = None
    speedup: float | None = None
    round_speedups: tuple[float, ...] = ()


@dataclass(frozen=True)
class BenchModel:
    """The model that was measured.

    Attributes:
        depth: the number of transformer blocks; None if the model has none.
        folder: the bundle; empty if it was made for the benchmark.
        random_weights: whether the model is untrained; speed does not depend on the weights.
    """

    preset: str
    architecture: str
    image_size: int
    num_frames: int
    depth: int | None
    precision: str
    digest: str
    folder: str
    random_weights: bool

    @classmethod
    def of(cls, preset: Preset, **others: Any) -> "BenchModel":
        """Take the sizes from a preset."""
        return cls(
            preset=preset.name,
            architecture=preset.architecture,
            image_size=preset.image_size,
            num_frames=preset.num_frames,
            depth=preset.depth if isinstance(preset, ModelPreset) else None,
            **others,
        )


@dataclass(frozen=True)
class BenchReport:
    """A whole benchmark; the naive row comes first.

    Attributes:
        seconds: measuring time per row, over all rounds.
        threads: as requested; None is all cores.
    """

    model: BenchModel
    environment: Environment
    created: str
    rounds: int
    seconds: float
    threads: int | None
    rows: tuple[Row, ...]


def row_of(
    name: str,
    loaded: Loaded,
    *,
    warm_up_calls: int,
    turns: Sequence[Turn],
    naive: Sequence[Turn],
) -> Row:
    """Summarise a subject that was measured in every round.

    Args:
        name: the row's.
        loaded: the device and precision it runs on.
        warm_up_calls: before the first turn.
        turns: the subject's own, one per round.
        naive: the naive row's turns; empty if it failed.
    """
    times = [time for turn in turns for time in turn.times]
    ratios = round_speedups(turns, naive)
    return Row(
        name=name,
        device=loaded.device,
        precision=loaded.precision,
        warm_up_calls=warm_up_calls,
        calls=len(times),
        stages={stage: _latency(stage, times) for stage in STAGES},
        windows_per_s=len(times) / total_s(times),
        peak_rss_mib=max(filter(None, (turn.peak_rss_mib for turn in turns)), default=None),
        speedup=statistics.median(ratios) if ratios else None,
        round_speedups=ratios,
    )


def round_speedups(turns: Sequence[Turn], naive: Sequence[Turn]) -> tuple[float, ...]:
    """Compare with the naive row round by round: a drift of the machine affects both."""
    return tuple(
        _median_frame_s(theirs) / _median_frame_s(ours)
        for ours, theirs in zip(turns, naive, strict=False)
    )


def to_dict(report: BenchReport) -> dict[str, Any]:
    """Return a JSON-ready dict."""
    return {"schema_version": SCHEMA_VERSION, **asdict(report)}


def naive_row(report: BenchReport) -> Row | None:
    """Find the row that the others are compared with."""
    return next((row for row in report.rows if row.name == NAIVE), None)


def _latency(stage: str, times: Sequence[FrameTime]) -> Latency:
    seconds: list[float] = [getattr(time, f"{stage}_s") for time in times]
    p50, p90, p95, p99 = percentiles_ms(seconds)
    mean_ms = statistics.fmean(seconds) * 1e3
    return Latency(mean_ms=mean_ms, p50_ms=p50, p90_ms=p90, p95_ms=p95, p99_ms=p99)


def _median_frame_s(turn: Turn) -> float:
    return statistics.median(time.frame_s for time in turn.times)
