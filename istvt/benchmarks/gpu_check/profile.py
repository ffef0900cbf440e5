"""Where the time of a window goes, kernel by kernel: what names the cause of a missed target."""

from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial

from istvt.benchmarks.gpu_check.check import Check
from istvt.benchmarks.gpu_check.latency import BATCHES, frame_works, open_way
from istvt.benchmarks.gpu_check.result import Outcome, Settings
from istvt.extras import require

CALLS, SHOWN, NAME_CHARS = 5, 8, 60


def profile_window(settings: Settings, *, batch: int) -> Outcome:
    """Profile the fused window in fp16, without a graph, so that kernels have their names."""
    torch = require("torch", extra="gpu")
    profiler = torch.profiler
    kind = profiler.ProfilerActivity
    activity = kind.CUDA if settings.device == "cuda" else kind.CPU
    with torch.no_grad(), ExitStack() as stack:
        stages = open_way(settings, way="fused", batch=batch, stack=stack)
        score = frame_works(settings, stages)["window"]
        score()
        with profiler.profile(activities=[activity]) as profile:
            for _ in range(CALLS):
                score()
            if settings.device == "cuda":
                torch.cuda.synchronize()
    clock = "self_device_time_total" if settings.device == "cuda" else "self_cpu_time_total"
    times_us = {event.key: getattr(event, clock) / CALLS for event in profile.key_averages()}
    return Outcome({"kernels_ms": sum(times_us.values()) / 1e3}, note=describe_shares(times_us))


def describe_shares(times_us: Mapping[str, float]) -> str:
    """Name the longest and their share of all."""
    total_us = sum(times_us.values()) or 1.0
    shares = [
        f"{100 * time_us / total_us:.0f} % {name[:NAME_CHARS]}"
        for name, time_us in Counter(times_us).most_common(SHOWN)
    ]
    return "; ".join(shares)


CHECKS: dict[str, Check] = {
    f"fused window batch {batch}": partial(profile_window, batch=batch) for batch in BATCHES
}
