"""Run a serialised engine, with the same code for TensorRT and TensorRT-RTX.

TensorRT-RTX compiles an engine for the GPU when it first runs. Its runtime cache keeps the result
for the next start, and it makes CUDA graphs itself. A new batch size first runs on kernels for any
size, while its own are compiled in the background. No camera waits, and a benchmark must warm up
until times are stable.

TensorRT's calls are captured from outside. A graph keeps using the state of its context. So each
size that may be captured has its own context, and all share one scratch memory. With plugins every
size has one: TensorRT 11.2 leaks GPU memory where a context with a plugin changes its shape
(NVIDIA/TensorRT#4849).
"""

import logging
from pathlib import Path
from types import ModuleType
from typing import Any

from istvt.bundle.engines import EngineRecord
from istvt.bundle.flavour import TITLES, make_logger
from istvt.compute import device_error
from istvt.errors import BackendError, EngineError
from istvt.files import atomic_file
from istvt.runtime.backends.cuda.device import Device
from istvt.runtime.backends.cuda.graph import CAPTURED_BATCHES

logger = logging.getLogger(__name__)


class EngineRunner:
    """See `Runner`; made and used inside `device.active()`.

    Raises:
        EngineError: the library rejects the engine, although its sidecar fits.
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
        eager_kernels: bool = False,
    ) -> None:
        self._trt, self._device, self._record = trt, device, record
        self._errors: list[str] = []
        self._log = make_logger(trt, self._errors)
        self._cache_path, self._eager_kernels = runtime_cache, eager_kernels
        # Key None: for the sizes that share one. Freed before the cache, which must outlive them.
        self._contexts: dict[int | None, Any] = {}
        self._cache: Any = None
        self._scratch_at: int | None = None
        self.max_batch = record.max_batch
        self.can_be_captured = record.flavour == "tensorrt"
        self._runtime = self._make_runtime()
        self._engine = self._runtime.deserialize_cuda_engine(content)
        if self._engine is None:
            raise self._failure("loading the engine")
        self._context_for(self.max_batch)
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
        self._errors.clear()
        context = self._context_for(batch)
        done = (
            context.set_input_shape(self._source, (batch, *self._row))
            and context.set_tensor_address(self._source, source)
            and context.set_tensor_address(self._target, target)
            and context.execute_async_v3(self._device.stream)
        )
        if not done:
            raise self._failure(f"running the engine on {batch} rows")

    def close(self) -> None:
        """See `Runner.close`; saves what TensorRT-RTX compiled for this GPU."""
        self._keep_cache()
        self._contexts.clear()
        self._cache = None  # before its runtime
        if self._scratch_at is not None:
            self._device.free(self._scratch_at)
        del self._engine, self._runtime

    def _make_runtime(self) -> Any:
        try:
            return self._trt.Runtime(self._log)
        except (TypeError, RuntimeError) as error:
            reason = "; ".join(self._errors) or str(error)
            raise EngineError(
                f"{TITLES[self._record.flavour]} cannot start on this machine: {reason}; look at "
                "the NVIDIA driver (`istvt checks`)"
            ) from error

    def _keep_cache(self) -> None:
        content = self._cache.serialize() if self._cache is not None else None
        if content is None or self._cache_path is None:
            return
        try:
            with atomic_file(self._cache_path) as temporary:
                temporary.write_bytes(bytes(content))
        except OSError as error:  # a bundle may be read-only
            logger.info("the next start compiles again: cannot keep %s", error)

    def _context_for(self, batch: int) -> Any:
        has_own = batch in CAPTURED_BATCHES or self._record.plugins
        key = batch if self.can_be_captured and has_own else None
        if key not in self._contexts:
            make = self._make_tensorrt_context if self.can_be_captured else self._make_rtx_context
            context = make()
            if context is None:
                raise self._failure("preparing the engine")
            self._contexts[key] = context
        return self._contexts[key]

    def _make_tensorrt_context(self) -> Any:
        strategy = self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        context = self._engine.create_execution_context(strategy)
        num_bytes = self._engine.device_memory_size_v2
        if context is None or num_bytes == 0:
            return context
        if self._scratch_at is None:
            self._scratch_at = self._device.allocate(num_bytes)
        context.set_device_memory(self._scratch_at, num_bytes)
        return context

    def _make_rtx_context(self) -> Any:
        config = self._engine.create_runtime_config()
        config.cuda_graph_strategy = self._trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        if self._eager_kernels:
            strategies = self._trt.DynamicShapesKernelSpecializationStrategy
            config.dynamic_shapes_kernel_specialization_strategy = strategies.EAGER
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
