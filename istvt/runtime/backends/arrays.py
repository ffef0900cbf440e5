"""Score with runtimes that keep features as numpy arrays in main memory."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from istvt.records import FloatArray, UInt8Array
from istvt.scorer import (
    ClosingScorer,
    Features,
    ScorerInfo,
    check_faces,
    check_windows,
    no_logits,
)

GraphName: TypeAlias = Literal["encoder", "window"]


class ArrayScorer(ClosingScorer):
    """A scorer over two graphs with arrays as input and output; a handle is one `feature_shape`."""

    info: ScorerInfo

    @abstractmethod
    def run(self, graph: GraphName, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Run one graph on its one input and return a new array."""

    def encode(self, faces: UInt8Array) -> list[Features]:
        """See `Scorer.encode`."""
        self.check_open()
        check_faces(faces, self.info.spec)
        if len(faces) == 0:
            return []
        return list(self.run("encoder", np.ascontiguousarray(faces)))

    def score(self, windows: Sequence[Sequence[Features]]) -> FloatArray:
        """See `Scorer.score`."""
        self.check_open()
        check_windows(windows, self.info.spec)
        if not windows:
            return no_logits()
        stacked = np.stack([np.stack(list(window)) for window in windows])
        return self.run("window", stacked).astype(np.float32)

    def synchronize(self) -> None:
        """See `Scorer.synchronize`; arrays are complete when returned."""
