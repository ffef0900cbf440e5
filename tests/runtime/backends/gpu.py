"""Scorers of the GPU backends over a stand-in for the GPU; they compute with ONNX Runtime."""

import shutil
from dataclasses import dataclass, replace
from typing import Any

from istvt.bundle.engines import (
    GRAPHS,
    EngineRecord,
    engine_path,
    onnx_digests,
    sidecar_of,
)
from istvt.bundle.manifest import open_bundle
from istvt.files import sha256_of
from istvt.runtime.backends import onnxruntime, onnxruntime_gpu
from istvt.runtime.backends import tensorrt as engines
from istvt.runtime.backends.choose import open_scorer
from istvt.runtime.backends.cuda import graph as cuda_graph
from tests.runtime.backends.cuda.fake_device import FakeDevice, FakeTensorRT, graphs_on

BACKENDS = ("tensorrt_rtx", "tensorrt", "onnxruntime-tensorrt")


@dataclass
class Gpu:
    """What tests look at."""

    device: FakeDevice
    tensorrt: FakeTensorRT
    graphs: Any


def pretend_gpu(patch, *, device=None, **failure) -> Gpu:
    """Put the stand-ins in the place of the GPU, TensorRT, and ONNX Runtime's providers."""
    device = device or FakeDevice()
    gpu = Gpu(device, FakeTensorRT(device, **failure), graphs_on(device))
    patch.setattr(cuda_graph, "CudaGraph", gpu.graphs)
    patch.setattr(engines, "open_device", lambda: device)
    patch.setattr(engines, "load_tensorrt", lambda flavour: gpu.tensorrt)
    patch.setattr(engines, "cuda_of", lambda flavour: "13")
    patch.setattr(engines, "installed_version", lambda flavour: FakeTensorRT.__version__)
    patch.setattr(onnxruntime_gpu, "open_device", lambda: device)
    return gpu


def with_engines(bundle, folder, flavour, *, max_batch=4, **changed):
    """Copy a bundle and give it engines that hold the path of their graph.

    Args:
        bundle: to copy.
        folder: of the copy.
        flavour: of the engines.
        max_batch: of the encoder and of the window.
        changed: what their sidecars say in the place of what fits the stand-ins.
    """
    copy = open_bundle(shutil.copytree(bundle.folder, folder))
    for graph in GRAPHS:
        path = engine_path(folder, graph, flavour)
        path.parent.mkdir(exist_ok=True)
        path.write_text(str(folder / f"{graph}.onnx"))
        record = EngineRecord(
            flavour=flavour,
            version=FakeTensorRT.__version__,
            cuda="13",
            driver=13010,
            gpu="fake",
            compute_capabilities=(89,),
            precision="fp32",
            max_batch=max_batch,
            plugins=(),
            onnx=onnx_digests(copy, graph),
            sha256=sha256_of(path),
            num_bytes=path.stat().st_size,
            num_layers=1,
            build_s=0.0,
        )
        replace(record, **changed).write(sidecar_of(path))
    return copy


def open_on_gpu(bundle, backend, folder, patch, **options):
    """Open a scorer of a GPU backend; also what it runs on."""
    gpu = pretend_gpu(patch, **options)
    if backend.startswith("onnxruntime"):
        return _open_onnxruntime(bundle, gpu, patch), gpu
    flavour = "rtx" if backend == "tensorrt_rtx" else "tensorrt"
    copy = with_engines(bundle, folder, flavour)
    return open_scorer(copy, backend=backend, device="cuda"), gpu


def _open_onnxruntime(bundle, gpu, patch):
    """Let the CPU provider pass for one of a GPU: it binds to raw addresses just so."""
    import onnxruntime as ort

    provider = onnxruntime.CPU_PROVIDER
    patch.setitem(onnxruntime_gpu.BACKENDS, provider, "onnxruntime")
    patch.setattr(onnxruntime_gpu, "provider_options", lambda *arguments, **named: {})
    runner = onnxruntime_gpu.SessionRunner

    class OnCpu(runner):
        def __init__(self, *arguments, **named):
            super().__init__(*arguments, **{**named, "max_batch": 4}, memory="cpu")

        def run(self, batch, source, target):
            gpu.device.enqueue(lambda: runner.run(self, batch, source, target))

    patch.setattr(onnxruntime_gpu, "SessionRunner", OnCpu)
    assert provider in ort.get_available_providers()
    return onnxruntime_gpu.OnnxRuntimeGpuScorer(bundle, provider)
