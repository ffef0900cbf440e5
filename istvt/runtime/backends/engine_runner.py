"""An engine's bytes in, a runner of it out: one code for TensorRT and TensorRT-RTX.

TensorRT-RTX compiles an engine for the GPU when it first runs; its runtime cache keeps that for
the next start, and it makes CUDA graphs itself.
"""

from pathlib import Path
from types import ModuleType
from typing import Any

from istvt.errors import BackendError, EngineError
from istvt.export.engine_record import EngineRecord
from istvt.export.flavour import TITLES, make_logger
from istvt.files import atomic_file
from istvt.runtime.backends.device import Device, device_error


class EngineRunner:
    """See `Runner`; made and used inside `device.active()`.

    Raises:
        EngineError: the library does not take the engine, after its sidecar was found to fit.
        DeviceMemoryError: the GPU has no room for it.
    """

    def __init__(
        self,
        trt: ModuleType,
        content: bytes,
        record: EngineRecord,
        device: Device,
        *,
        runtime_cache: Path | None = None,
    ) -> None:
        self._device, self._record = device, record
        self._errors: list[str] = []
        self._log = make_logger(trt, self._errors)
        self._cache_path = runtime_cache
        self._cache: Any = None
        self.max_batch = record.max_batch
        self.can_be_captured = record.flavour == "tensorrt"
        self._runtime = trt.Runtime(self._log)
        self._engine = self._runtime.deserialize_cuda_engine(content)
        if self._engine is None:
            raise self._failure("loading the engine")
        self._context = self._make_context(trt)
        if self._context is None:
            raise self._failure("preparing the engine")
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        is_input = [self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT for name in names]
        if sorted(is_input) != [False, True]:
            raise EngineError(
                f"the engine has tensors {', '.join(names)}: expected one in, one out"
            )
        self._source, self._target = names[is_input.index(True)], names[is_input.index(False)]
        self._row = tuple(self._engine.get_tensor_shape(self._source))[1:]

    def run(self, batch: int, source: int, target: int) -> None:
        """See `Runner.run`."""
        context = self._context
        self._errors.clear()
        done = (
            context.set_input_shape(self._source, (batch, *self._row))
            and context.set_tensor_address(self._source, source)
            and context.set_tensor_address(self._target, target)
            and context.execute_async_v3(self._device.stream)
        )
        if not done:
            raise self._failure(f"running the engine on {batch} rows")

    def close(self) -> None:
        """See `Runner.close`; keeps what TensorRT-RTX compiled for this GPU."""
        if self._cache is not None and self._cache_path is not None:
            with atomic_file(self._cache_path) as temporary:
                temporary.write_bytes(bytes(self._cache.serialize()))
        del self._context, self._engine, self._runtime

    def _make_context(self, trt: ModuleType) -> Any:
        if self._record.flavour == "tensorrt":
            return self._engine.create_execution_context()
        config = self._engine.create_runtime_config()
        config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        self._cache = config.create_runtime_cache()
        if self._cache_path is not None and self._cache_path.is_file():
            self._cache.deserialize(self._cache_path.read_bytes())  # of another GPU: stays empty
        config.set_runtime_cache(self._cache)
        return self._engine.create_execution_context(config)

    def _failure(self, action: str) -> Exception:
        title = TITLES[self._record.flavour]
        error = device_error(
            f"{action} in {title}", "; ".join(self._errors) or "it gives no reason"
        )
        return error if type(error) is not BackendError else EngineError(str(error))
