"""Time a naive implementation, which every other row is compared with.

It is a first draft in PyTorch fp32. It encodes all T faces of a window again for each new frame.
ISTVT's last block computes all tokens, although only one is read.
"""

import time
from collections import deque
from itertools import cycle

import numpy as np

from istvt.benchmarks.timing import Clock, FrameTime, noise_faces
from istvt.bundle.manifest import Bundle
from istvt.errors import BackendError
from istvt.extras import require
from istvt.scorer import DeviceName


class NaiveFrame:
    """Runs one window of T faces through the whole model.

    Raises:
        MissingExtraError: PyTorch is not installed.
        BackendError: CUDA was requested and is missing.
    """

    precision = "fp32"

    def __init__(
        self,
        bundle: Bundle,
        *,
        device: DeviceName,
        threads: int | None = None,
        clock: Clock = time.perf_counter,
    ) -> None:
        torch = self._torch = require("torch", extra="cpu")
        has_cuda = torch.cuda.is_available()
        if device == "cuda" and not has_cuda:
            raise BackendError("PyTorch sees no CUDA device here: use --device cpu")
        self.device = "cuda" if device != "cpu" and has_cuda else "cpu"
        if threads is not None:
            torch.set_num_threads(threads)
        from istvt.models.base import HasShortcut
        from istvt.models.load import load_model

        self._model = load_model(bundle.weights, bundle.config).to(self.device)
        model = self._model
        self._score = model.score_in_full if isinstance(model, HasShortcut) else model.score
        self._clock = clock
        faces = noise_faces(bundle.config.spec)
        self._window = deque(faces, maxlen=len(faces))
        self._faces = cycle(faces)

    def __call__(self) -> FrameTime:
        """Time the next frame."""
        face = next(self._faces)
        start = self._clock()
        self._window.append(face)
        with self._torch.inference_mode():
            pixels = self._torch.from_numpy(np.stack(self._window)).to(self.device)
            features = self._model.encode(pixels)
            if self.device == "cuda":
                self._torch.cuda.synchronize()
            encoded = self._clock()
            self._score(features[None]).cpu()
        return FrameTime(encoder_s=encoded - start, window_s=self._clock() - encoded)
