"""Try one package on this machine and print the findings as one line of JSON.

Run as `python -m istvt.checks.probes NAME`, one process per package. The packages are native
libraries: one that hangs or crashes must not affect the others.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from types import ModuleType
from typing import Literal

import numpy as np

Status = Literal["pass", "warn", "fail", "absent"]

# y = Relu(x) on two floats: ONNX IR 8, opset 17
RELU_ONNX = (
    b'\x08\x08:3\n\x0c\n\x01x\x12\x01y"\x04Relu\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n'
    b"\x02\x08\x02b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x02B\x04\n\x00\x10\x11"
)
RELU_INPUT = np.array([-1.0, 2.0], np.float32)
RELU_OUTPUT = [0.0, 2.0]
ORT_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}


@dataclass(frozen=True)
class Finding:
    """How one device or provider of a package (`part`) works on this machine."""

    part: str
    status: Status
    detail: str
    fix: str = ""


def _attempt(part: str, act: Callable[[], str], *, fix: str) -> Finding:
    try:
        return Finding(part, "pass", act())
    except Exception as error:  # noqa: BLE001 a probe reports any failure
        text = " ".join(str(error).split())
        return Finding(part, "fail", f"{type(error).__name__}: {text[:200]}", fix)


def _expect(result: object) -> None:
    values = np.asarray(result).ravel().tolist()
    if values != RELU_OUTPUT:
        raise ValueError(f"Relu({RELU_INPUT.tolist()}) gave {values}, expected {RELU_OUTPUT}")


def probe_av() -> list[Finding]:
    """Check for the decoders and encoders that sources and writers use."""
    import av

    missing = [name for name in ("h264", "hevc", "vp9", "mjpeg") if name not in av.codecs_available]
    detail = f"PyAV {av.__version__}, writes {_encoder(av)}"
    if missing:
        fix = "pip install --force-reinstall av"
        return [Finding("", "warn", f"{detail}; cannot decode {', '.join(missing)}", fix)]
    return [Finding("", "pass", detail)]


def _encoder(av: ModuleType) -> str:
    return "H.264" if "libx264" in av.codecs_available else "MPEG-4 (no libx264)"


def probe_cv2() -> list[Finding]:
    """Convert one image."""

    def act() -> str:
        import cv2

        cv2.cvtColor(np.zeros((2, 2, 3), np.uint8), cv2.COLOR_BGR2RGB)
        return f"OpenCV {cv2.__version__}"

    return [_attempt("", act, fix="apt install libgl1 libglib2.0-0 (OpenCV's system libraries)")]


def probe_torch() -> list[Finding]:
    """Run one operator on the CPU and on each GPU."""
    import torch

    def run(device: str) -> str:
        _expect(torch.relu(torch.from_numpy(RELU_INPUT).to(device)).cpu().numpy())
        if device == "cpu":
            return f"{torch.__version__}, {torch.get_num_threads()} threads"
        major, minor = torch.cuda.get_device_capability(device)
        return f"{torch.cuda.get_device_name(device)}, compute capability {major}.{minor}"

    findings = [_attempt("cpu", partial(run, "cpu"), fix="pip install --force-reinstall torch")]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            device = f"cuda:{index}"
            fix = "install the torch build for this driver and card (see pytorch.org)"
            findings.append(_attempt(device, partial(run, device), fix=fix))
    elif torch.version.cuda is None:
        findings.append(Finding("cuda", "absent", "this torch is built without CUDA"))
    else:
        findings.append(Finding("cuda", "absent", f"built for CUDA {torch.version.cuda}, no GPU"))
    return findings


def probe_onnxruntime() -> list[Finding]:
    """Run one node on each built-in provider; a fall-back to another provider is a failure."""
    import onnxruntime as ort

    from istvt.runtime.backends.onnxruntime_gpu import preload

    ort.set_default_logger_severity(4)
    built_in = ort.get_available_providers()

    def run(provider: str) -> str:
        if provider != ORT_PROVIDERS["cpu"]:
            preload(ort, provider)
        session = ort.InferenceSession(RELU_ONNX, providers=[provider])
        if session.get_providers()[0] != provider:
            raise RuntimeError(f"{provider} did not start: its libraries or GPU are missing")
        _expect(session.run(None, {"x": RELU_INPUT})[0])
        return f"{ort.__version__}, runs"

    findings = []
    for part, provider in ORT_PROVIDERS.items():
        if provider in built_in:
            fix = _ort_fix(part)
            findings.append(_attempt(part, partial(run, provider), fix=fix))
        else:
            findings.append(Finding(part, "absent", "not in this build", _gpu_fix()))
    return findings


def _ort_fix(part: str) -> str:
    if part == "tensorrt":
        return "pip install 'istvt[tensorrt]', and have libnvinfer on LD_LIBRARY_PATH"
    return "pip install --force-reinstall onnxruntime" + ("-gpu" if part == "cuda" else "")


def _gpu_fix() -> str:
    """Return the command that installs the GPU build; the CPU build would hide it."""
    install = "pip install 'istvt[gpu]' (needs an NVIDIA GPU)"
    try:
        metadata.distribution("onnxruntime")
    except metadata.PackageNotFoundError:
        return install
    return f"pip uninstall onnxruntime, then {install}"


def probe_openvino() -> list[Finding]:
    """Compile and run one node on each device."""
    from io import BytesIO

    import openvino

    core = openvino.Core()

    def run(device: str) -> str:
        compiled = core.compile_model(core.read_model(BytesIO(RELU_ONNX)), device)
        _expect(compiled([RELU_INPUT])[0])
        name = core.get_property(device, "FULL_DEVICE_NAME")
        return f"{openvino.__version__.split('-')[0]}, runs on {name}"

    fix = "update the device's driver, or pip install --force-reinstall openvino"
    devices = core.available_devices
    return [_attempt(d.lower(), partial(run, d), fix=fix) for d in devices] or [
        Finding("", "fail", "finds no device", fix)
    ]


def probe_tensorrt_rtx() -> list[Finding]:
    """Build an engine, which needs no GPU, and load it, which needs one."""
    import tensorrt_rtx

    return _probe_tensorrt(tensorrt_rtx, extra="rtx")


def probe_tensorrt() -> list[Finding]:
    """Build an engine and load it."""
    import tensorrt

    return _probe_tensorrt(tensorrt, extra="tensorrt")


def _probe_tensorrt(trt: ModuleType, *, extra: str) -> list[Finding]:
    fix = f"pip install --force-reinstall 'istvt[{extra}]', and update the NVIDIA driver"
    logger = trt.Logger(trt.Logger.ERROR)
    engines: list[bytes] = []

    def build() -> str:
        engines.append(_build_engine(trt, logger))
        return f"{trt.__version__}, builds engines"

    built = _attempt("", build, fix=fix)
    if built.status != "pass":
        return [built]
    if trt.Runtime(logger).deserialize_cuda_engine(engines[0]) is None:
        detail = f"{built.detail}, cannot run them: no supported NVIDIA GPU"
        return [Finding("", "warn", detail, "run the engines on a machine with such a GPU")]
    return [Finding("cuda", "pass", f"{built.detail} and loads them")]


def _build_engine(trt: ModuleType, logger: object) -> bytes:
    builder = trt.Builder(logger)
    network = builder.create_network(0)  # a graph of one type: the flag makes no difference
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(RELU_ONNX):
        raise RuntimeError(str(parser.get_error(0)))
    engine: bytes | None = builder.build_serialized_network(
        network, builder.create_builder_config()
    )
    if engine is None:
        raise RuntimeError("no engine could be built")
    return engine


def probe_pycuda() -> list[Finding]:
    """Count the driver's GPUs."""

    def count() -> str:
        import pycuda
        import pycuda.driver as cuda

        cuda.init()
        return f"{pycuda.VERSION_TEXT}, {cuda.Device.count()} GPUs"

    return [_attempt("", count, fix="install the NVIDIA driver; pycuda needs a GPU")]


def probe_cuda_python() -> list[Finding]:
    """Open the first GPU as the backends do."""

    def act() -> str:
        from istvt.bundle.engines import format_driver
        from istvt.runtime.backends.cuda.cuda_python import CudaPythonDevice

        device = CudaPythonDevice()
        device.close()
        return f"{device.name}, CUDA driver {format_driver(device.driver)}"

    return [_attempt("", act, fix="install the NVIDIA driver; cuda-python needs a GPU")]


def probe_triton() -> list[Finding]:
    """Import the language and its compiler."""

    def act() -> str:
        import triton
        import triton.language

        return str(triton.__version__)

    return [_attempt("", act, fix="pip install --force-reinstall triton")]


PROBES: dict[str, Callable[[], list[Finding]]] = {
    "av": probe_av,
    "cv2": probe_cv2,
    "torch": probe_torch,
    "onnxruntime": probe_onnxruntime,
    "openvino": probe_openvino,
    "tensorrt_rtx": probe_tensorrt_rtx,
    "tensorrt": probe_tensorrt,
    "pycuda": probe_pycuda,
    "cuda": probe_cuda_python,
    "triton": probe_triton,
}


def main(name: str) -> None:
    """Run one probe and print its findings as the last line of output."""
    findings = [vars(finding) for finding in PROBES[name]()]
    sys.stdout.write("\n" + json.dumps(findings) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
