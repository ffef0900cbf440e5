"""Run a bundle's weights in PyTorch, the reference for all other backends."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import numpy as np

from istvt.bundle.manifest import Bundle
from istvt.compute import torch_error
from istvt.errors import BackendError
from istvt.extras import require
from istvt.records import FloatArray, FloatPrecision, UInt8Array
from istvt.runtime.backends.cuda.torch_model import (
    WindowPasses,
    fused,
    lower_model,
    torch_precision,
)
from istvt.scorer import (
    ClosingScorer,
    DeviceName,
    Features,
    check_faces,
    check_windows,
    no_logits,
)

CUDNN = {"enabled": True, "allow_tf32": False}  # `flags` turns cuDNN off unless it is named


class TorchScorer(ClosingScorer):
    """The model in fp32 on the CPU; on a CUDA device in the bundle's precision, fused and captured.

    Attributes:
        is_fused: whether our kernels compute the attentions.

    Raises:
        MissingExtraError: PyTorch is not installed.
        BackendError: CUDA was requested and is missing, or cannot run the model.
    """

    def __init__(self, bundle: Bundle, *, device: DeviceName, threads: int | None = None) -> None:
        torch = self._torch = require("torch", extra="cpu")
        has_cuda = torch.cuda.is_available()
        if device == "cuda" and not has_cuda:
            raise BackendError("PyTorch sees no CUDA device here: use --device cpu")
        self._device = "cuda" if device != "cpu" and has_cuda else "cpu"
        if threads is not None:
            torch.set_num_threads(threads)
        from istvt.models.load import load_model

        self._fusion, self.is_fused = ExitStack(), False
        precision: FloatPrecision = "fp32"
        with self._torch_errors():
            self._model = load_model(bundle.weights, bundle.config).to(self._device)
            self._score: Callable[[Any], Any] = self._model.score
            if self._device == "cuda":
                precision = torch_precision(bundle.precision)
                lower_model(torch, self._model, precision)
                if precision != "fp32":
                    fusion = fused(self._model)
                    self.is_fused = not isinstance(fusion, nullcontext)
                    self._fusion.enter_context(fusion)
                self._score = WindowPasses(torch, self._model.score)
        self.info = bundle.scorer_info("torch", device=self._device, precision=precision)
        if self._device == "cuda":
            self._capture_one()

    def encode(self, faces: UInt8Array) -> list[Features]:
        """See `Scorer.encode`; a handle is a tensor `feature_shape` on the device."""
        check_faces(faces, self.info.spec)
        with self._torch_errors():
            pixels = self._torch.from_numpy(np.ascontiguousarray(faces)).to(self._device)
            return list(self._model.encode(pixels))

    def score(self, windows: Sequence[Sequence[Features]]) -> FloatArray:
        """See `Scorer.score`."""
        check_windows(windows, self.info.spec)
        if not windows:
            return no_logits()
        with self._torch_errors():
            stacked = self._torch.stack([self._torch.stack(list(window)) for window in windows])
            logits: FloatArray = self._score(stacked).float().cpu().numpy()
        return logits

    def synchronize(self) -> None:
        """See `Scorer.synchronize`."""
        if self._device == "cuda":
            with self._torch_errors():
                self._torch.cuda.synchronize()

    def free(self) -> None:
        """See `ClosingScorer.free`."""
        self._fusion.close()
        del self._model, self._score

    def _capture_one(self) -> None:
        """Capture a single window's graph now: if that fails, another backend is chosen."""
        spec = self.info.spec
        (face,) = self.encode(np.zeros((1, *2 * [spec.image_size], 3), dtype=np.uint8))
        for _ in range(2):
            self.score([[face] * spec.num_frames])

    @contextmanager
    def _torch_errors(self) -> Iterator[None]:
        """Run without gradients and in full fp32; turn PyTorch's errors into ours."""
        self.check_open()
        convolutions = self._torch.backends.cudnn
        try:
            with self._torch.inference_mode(), convolutions.flags(**CUDNN):
                yield
        except RuntimeError as error:
            if self._device == "cuda":
                raise torch_error(error) from error
            raise BackendError(f"PyTorch failed on {self._device}: {error}") from error
