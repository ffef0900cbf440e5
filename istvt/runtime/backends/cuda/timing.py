"""Score noise with a window engine, and time a pass of one window on this GPU."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

import numpy as np

from istvt.bundle.engines import EngineRecord
from istvt.presets import ModelSpec
from istvt.records import FloatArray
from istvt.runtime.backends.cuda.device import Device, letting_go
from istvt.runtime.backends.cuda.engine import EngineRunner
from istvt.runtime.backends.cuda.graph import capture
from istvt.runtime.backends.cuda.scorer import FLOAT_BYTES

WARM_UP_PASSES, TIMED_PASSES = 10, 50
NOISE_WINDOWS = 3


def score_noise(
    trt: ModuleType, record: EngineRecord, content: bytes, device: Device, spec: ModelSpec
) -> FloatArray:
    """Return the logits of a few windows of noise, the same for each engine of a model.

    Raises:
        EngineError: the engine does not load or run.
    """
    rows = min(NOISE_WINDOWS, record.max_batch)
    shape = (rows, spec.num_frames, *spec.feature_shape)
    noise = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    with _opened(trt, record, content, device) as runner:
        faces, logits = device.pinned(noise.nbytes), device.pinned(rows * FLOAT_BYTES)
        faces[:] = noise.reshape(-1).view(np.uint8)
        source, target = device.allocate(faces.nbytes), device.allocate(logits.nbytes)
        device.copy_in(source, faces)
        runner.run(rows, source, target)
        device.copy_out(logits, target)
        device.synchronize()
        device.free(source)
        device.free(target)
    return logits.view(np.float32).copy()


def time_pass_ms(
    trt: ModuleType, record: EngineRecord, content: bytes, device: Device, spec: ModelSpec
) -> float:
    """Return the median time in ms of a pass of one window with its launch, run as in a scorer.

    Raises:
        EngineError: the engine does not load or run.
    """
    num_bytes = spec.num_frames * spec.feature_size * FLOAT_BYTES
    with _opened(trt, record, content, device) as runner:
        source, target = device.allocate(num_bytes), device.allocate(FLOAT_BYTES)

        def queue() -> None:
            runner.run(1, source, target)

        queue()  # sets up kernels and memory, which a graph must not contain
        device.synchronize()
        graph = capture(device.stream, queue) if runner.can_be_captured else None
        times_ms = _time(queue if graph is None else graph.launch, device)
        if graph is not None:
            graph.close()
        device.free(source)
        device.free(target)
    return round(statistics.median(times_ms[WARM_UP_PASSES:]), 4)


@contextmanager
def _opened(
    trt: ModuleType, record: EngineRecord, content: bytes, device: Device
) -> Iterator[EngineRunner]:
    with device.active():
        runner = EngineRunner(trt, content, record, device)
        try:
            yield runner
        finally:
            with letting_go():
                device.synchronize()
                runner.close()


def _time(launch: Callable[[], None], device: Device) -> list[float]:
    times_ms = []
    for _ in range(WARM_UP_PASSES + TIMED_PASSES):
        start_s = time.perf_counter()
        launch()
        device.synchronize()
        times_ms.append(1e3 * (time.perf_counter() - start_s))
    return times_ms
