"""A window engine in, the time of one window on this GPU out."""

import statistics
import time
from types import ModuleType

from istvt.export.engine_record import EngineRecord
from istvt.presets import ModelPreset
from istvt.runtime.backends.device import Device
from istvt.runtime.backends.device_scorer import FLOAT_BYTES
from istvt.runtime.backends.engine_runner import EngineRunner

WARM_UP_PASSES, TIMED_PASSES = 10, 50


def time_pass_ms(
    trt: ModuleType, record: EngineRecord, content: bytes, device: Device, preset: ModelPreset
) -> float:
    """Give the median time of a pass of one window, launch and all, in ms.

    Raises:
        EngineError: the engine does not load or run.
    """
    num_bytes = preset.num_frames * preset.num_patches * preset.embed_dim * FLOAT_BYTES
    with device.active():
        runner = EngineRunner(trt, content, record, device)
        source, target = device.allocate(num_bytes), device.allocate(FLOAT_BYTES)
        times_ms = []
        for _ in range(WARM_UP_PASSES + TIMED_PASSES):
            start_s = time.perf_counter()
            runner.run(1, source, target)
            device.synchronize()
            times_ms.append(1e3 * (time.perf_counter() - start_s))
        runner.close()
        device.free(source)
        device.free(target)
    return round(statistics.median(times_ms[WARM_UP_PASSES:]), 4)
