"""A window engine in, the time of one window on this GPU out."""

import statistics
import time
from collections.abc import Callable
from types import ModuleType

from istvt.export.engine_record import EngineRecord
from istvt.presets import ModelPreset
from istvt.runtime.backends.cuda_graph import capture
from istvt.runtime.backends.device import Device
from istvt.runtime.backends.device_scorer import FLOAT_BYTES
from istvt.runtime.backends.engine_runner import EngineRunner

WARM_UP_PASSES, TIMED_PASSES = 10, 50


def time_pass_ms(
    trt: ModuleType, record: EngineRecord, content: bytes, device: Device, preset: ModelPreset
) -> float:
    """Give the median time of a pass of one window, launch and all, run as a scorer runs it, in ms.

    Raises:
        EngineError: the engine does not load or run.
    """
    num_bytes = preset.num_frames * preset.num_patches * preset.embed_dim * FLOAT_BYTES
    with device.active():
        runner = EngineRunner(trt, content, record, device)
        source, target = device.allocate(num_bytes), device.allocate(FLOAT_BYTES)

        def queue() -> None:
            runner.run(1, source, target)

        queue()  # sets up kernels and memory, which a graph must not contain
        device.synchronize()
        graph = capture(device.stream, queue) if runner.can_be_captured else None
        times_ms = _time(queue if graph is None else graph.launch, device)
        if graph is not None:
            graph.close()
        runner.close()
        device.free(source)
        device.free(target)
    return round(statistics.median(times_ms[WARM_UP_PASSES:]), 4)


def _time(launch: Callable[[], None], device: Device) -> list[float]:
    times_ms = []
    for _ in range(WARM_UP_PASSES + TIMED_PASSES):
        start_s = time.perf_counter()
        launch()
        device.synchronize()
        times_ms.append(1e3 * (time.perf_counter() - start_s))
    return times_ms
