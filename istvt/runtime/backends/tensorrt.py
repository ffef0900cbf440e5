"""Run a bundle's engines in TensorRT or TensorRT-RTX, on the GPU they were built for."""

from contextlib import suppress

from istvt.bundle.engines import (
    GRAPHS,
    Place,
    engine_path,
    open_engine,
    rebuild_command,
)
from istvt.bundle.flavour import (
    MODULES,
    TITLES,
    Flavour,
    check_rtx_gpu,
    cuda_of,
    installed_version,
    load_tensorrt,
    rtx_capabilities,
)
from istvt.bundle.manifest import ENGINES_FOLDER, Bundle
from istvt.errors import EngineError, RuntimeEnvironmentError
from istvt.runtime.backends.cuda.engine import EngineRunner
from istvt.runtime.backends.cuda.open import open_device
from istvt.runtime.backends.cuda.scorer import DeviceScorer


class EngineScorer(DeviceScorer):
    """Both graphs as engines; their sidecars are checked before anything is loaded.

    Raises:
        MissingExtraError: the library, or a package for the GPU's memory, is not installed.
        EngineError: the library does not support the GPU, or no engine exists or fits; names the
            command that builds one.
        BackendError: there is no GPU.
    """

    def __init__(self, bundle: Bundle, flavour: Flavour, *, eager_kernels: bool = False) -> None:
        _check_there(bundle, flavour)
        # Load TensorRT only for engines that fit: TensorRT-RTX cannot be loaded after it.
        version = installed_version(flavour) or load_tensorrt(flavour).__version__
        gpu = open_device()
        info = bundle.scorer_info(MODULES[flavour], device="cuda")
        runners: list[EngineRunner] = []
        try:
            if flavour == "rtx":
                known = rtx_capabilities(load_tensorrt(flavour))
                check_rtx_gpu(gpu.compute_capability, gpu.name, known)
            place = Place(
                version=version,
                cuda=cuda_of(flavour),
                driver=gpu.driver,
                compute_capability=gpu.compute_capability,
            )
            engines = [open_engine(bundle, graph, flavour, place=place) for graph in GRAPHS]
            trt = load_tensorrt(flavour)
            with gpu.active():
                for graph, (record, content) in zip(GRAPHS, engines, strict=True):
                    cache = bundle.folder / ENGINES_FOLDER / f"{graph}-{flavour}.runtime-cache"
                    runners.append(
                        EngineRunner(
                            *(trt, content, record, gpu),
                            runtime_cache=cache,
                            eager_kernels=eager_kernels,
                        )
                    )
            encoder, window = runners
            super().__init__(info, gpu, encoder=encoder, window=window)
        except BaseException:
            with suppress(RuntimeEnvironmentError), gpu.active():
                for runner in runners:  # before the context that holds their memory
                    runner.close()
            gpu.close()
            raise


def _check_there(bundle: Bundle, flavour: Flavour) -> None:
    """Refuse a missing engine before loading the library that it would need."""
    if not all(engine_path(bundle.folder, graph, flavour).is_file() for graph in GRAPHS):
        raise EngineError(
            f"{bundle.folder} has no {TITLES[flavour]} engines: build them with "
            f"{rebuild_command(bundle.folder, flavour)}"
        )
