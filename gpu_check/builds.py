"""What TensorRT builds for minutes: with its own choice of our plugins, and for ONNX Runtime."""

from gpu_check.scorers import checks_of

CHECKS = (
    checks_of("fp16", (("tensorrt", "auto"), ("onnxruntime-tensorrt", None)))
    | checks_of("bf16", (("onnxruntime-tensorrt", None),))
    | checks_of("fp32", (("onnxruntime-tensorrt", None),))
)
