"""List the jobs of a check in the order of their worth: time may run out before the last.

A part that did not fit can be run alone, by its name.
"""

from collections.abc import Iterator

from gpu_check.engines import SUBJECTS
from gpu_check.jobs import Job
from gpu_check.table import Row

BUILD_S, COMPILE_S = 300.0, 150.0
BUILT_FOR_MINUTES = ("tensorrt, plugin auto", "onnxruntime-tensorrt")

GPU_JOB = Job(Row("machine", "GPU"), "gpu_check.latency:describe_gpu")


def _tests(part: str, path: str) -> Job:
    return Job(Row(part, path), path)


def _speeds() -> Iterator[Job]:
    for kernel in ("temporal", "spatial"):
        for dtype in ("fp16", "bf16"):
            for batch in (8, 1):
                row = Row("kernels", "speed", kernel, dtype, batch)
                yield Job(row, "gpu_check.kernels:measure_kernel", shares=True)


def _ways(part: str, batch: int, *ways: str, timeout_s: float = COMPILE_S) -> Iterator[Job]:
    for way in ways:
        row = Row(part, "frame", way, "fp16", batch)
        yield Job(row, "gpu_check.latency:measure_way", timeout_s)


def _scorers(part: str, dtype: str, *, slow: bool) -> Iterator[Job]:
    """Build each subject, and test and time it before the next takes its engine's place."""
    yield Job(Row(part, "export", dtype=dtype), "gpu_check.engines:export", BUILD_S)
    for subject in SUBJECTS:
        name = subject.name
        if subject.precision == dtype and slow == (name in BUILT_FOR_MINUTES):
            if subject.is_built:
                yield Job(Row(part, "build", name, dtype), "gpu_check.engines:build", BUILD_S)
            yield Job(Row(part, "tests", name, dtype), "tests/gpu/test_scorers.py", BUILD_S)
            for batch in (1, 8):
                row = Row(part, "frame", name, dtype, batch)
                yield Job(row, "gpu_check.latency:measure_scorer", BUILD_S)


JOBS: tuple[Job, ...] = (
    Job(Row("rates", "copy"), "gpu_check.latency:measure_copy", shares=True),
    *(
        Job(
            Row("rates", "products", dtype=dtype),
            "gpu_check.latency:measure_products",
            shares=True,
        )
        for dtype in ("fp16", "bf16")
    ),
    *_speeds(),
    _tests("driver", "tests/gpu/test_driver.py"),
    _tests("model", "tests/gpu/test_model.py"),
    *_ways("latency", 1, "eager", "fused, graph", "compiled", "fused, compiled"),
    *_ways("latency", 8, "eager", "fused, graph", "fused, compiled"),
    *_scorers("scorers", "fp16", slow=False),
    _tests("suite", "tests/kernels/test_cuda.py"),
    *_scorers("formats", "bf16", slow=False),
    *_scorers("formats", "fp32", slow=False),
    _tests("training", "tests/gpu/test_training.py"),
    *_ways("tuned", 1, "compiled, tuned", timeout_s=BUILD_S),
    *_ways("tuned", 8, "compiled", "compiled, tuned", timeout_s=BUILD_S),
    *(job for dtype in ("fp16", "bf16", "fp32") for job in _scorers("builds", dtype, slow=True)),
)
