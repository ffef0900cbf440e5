"""The backends in the number formats that few would deploy on a GPU."""

from gpu_check.scorers import Row, checks_of

ROWS: tuple[Row, ...] = (
    *(("torch", None), ("onnxruntime", None), ("tensorrt_rtx", None)),
    *(("tensorrt", "off"), ("tensorrt", "on"), ("tensorrt", "memory")),
)
CHECKS = checks_of("bf16", ROWS) | checks_of("fp32", ROWS)
