"""Where the time of PyTorch's ways goes, kernel by kernel: the cause of a missed target.

Kernels of a replayed CUDA graph are those of the way without one, so "fused" stands for both.
"""

from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial

from gpu_check.check import Check
from gpu_check.clock import WARM_UP_CALLS, Work
from gpu_check.latency import BATCHES, compiling, frame_works, open_way
from gpu_check.result import Outcome, Settings
from gpu_check.ways import WayName
from istvt.extras import require

PROFILED: dict[WayName, WayName] = {
    "fused": "fused",
    "fused, graph": "fused",
    "fused, compiled": "fused, compiled",
}
STAGES = ("encoder", "window")
CALLS, SHOWN, NAME_CHARS = 5, 6, 60


def profile_way(settings: Settings, *, way: WayName, batch: int) -> Outcome:
    """Profile both stages of a way in fp16."""
    torch = require("torch", extra="gpu")
    with torch.no_grad(), ExitStack() as stack:
        stages = open_way(settings, way=way, batch=batch, stack=stack)
        with compiling(settings, way):
            works = frame_works(settings, stages)
        times_us = {stage: _time_kernels(settings, works[stage]) for stage in STAGES}
    figures = {f"{stage}_kernels_ms": sum(times_us[stage].values()) / 1e3 for stage in STAGES}
    lines = [f"{stage}: {describe_shares(times_us[stage])}" for stage in STAGES]
    return Outcome(figures, note="\n".join(lines))


def _time_kernels(settings: Settings, work: Work) -> dict[str, float]:
    torch = require("torch", extra="gpu")
    kind = torch.profiler.ProfilerActivity
    on_gpu = settings.device == "cuda"
    for _ in range(WARM_UP_CALLS):
        work()
    with torch.profiler.profile(activities=[kind.CUDA if on_gpu else kind.CPU]) as profile:
        for _ in range(CALLS):
            work()
        if on_gpu:
            torch.cuda.synchronize()
    clock = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    return {event.key: getattr(event, clock) / CALLS for event in profile.key_averages()}


def describe_shares(times_us: Mapping[str, float]) -> str:
    """Name the longest and their share of all."""
    total_us = sum(times_us.values()) or 1.0
    shares = [
        f"{100 * time_us / total_us:.0f} % {name[:NAME_CHARS]}"
        for name, time_us in Counter(times_us).most_common(SHOWN)
    ]
    return "; ".join(shares)


def name_of(way: WayName, batch: int) -> str:
    """Name the check that profiles a way."""
    return f"{PROFILED[way]} batch {batch}"


CHECKS: dict[str, Check] = {
    name_of(way, batch): partial(profile_way, way=way, batch=batch)
    for way in dict.fromkeys(PROFILED.values())
    for batch in BATCHES
}
