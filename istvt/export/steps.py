"""A draft of a bundle after each step of its making in, the comparison with the step before out."""

from collections.abc import Callable
from typing import TypeAlias

from istvt.export.bundle import Bundle
from istvt.export.parity import (
    TOLERANCES,
    ParityResult,
    SampleWindows,
    Tolerance,
    compare,
    score_windows,
)
from istvt.records import FloatArray
from istvt.runtime.backends.choose import open_scorer
from istvt.runtime.backends.onnxruntime import OnnxRuntimeScorer
from istvt.runtime.scorer import Scorer

Progress: TypeAlias = Callable[[str], None]


class ParitySteps:
    """Scores the same windows after each step.

    Attributes:
        results: one for each step but the first.
    """

    def __init__(self, windows: SampleWindows, progress: Progress) -> None:
        self.results: list[ParityResult] = []
        self._windows, self._progress = windows, progress
        self._last: tuple[str, FloatArray] | None = None

    @property
    def have_begun(self) -> bool:
        """Whether there is something to compare the next step with."""
        return self._last is not None

    def run(self, draft: Bundle, backend: str, *, device: str = "cpu", gates: bool = True) -> None:
        """Compare what a backend says of the draft with the step before.

        The next is compared with this one if it gates, else with the same as this one.

        Args:
            draft: as it is now.
            backend: that runs it.
            device: `cpu` or `cuda`.
            gates: False where the backend computes as the machine allows, not as the graphs say.
        """
        with open_scorer(draft, backend=backend, device=device, eager_kernels=True) as scorer:
            self._compare(f"{backend} {scorer.info.precision}", scorer, gates=gates)

    def run_rounded(self, draft: Bundle) -> None:
        """Compare the very graphs with each node's result rounded to its type, as a GPU does."""
        with OnnxRuntimeScorer(draft, device="cpu", rounds=True) as scorer:
            self._compare(f"onnxruntime {scorer.info.precision} rounded", scorer, gates=True)

    def _compare(self, name: str, scorer: Scorer, *, gates: bool) -> None:
        self._progress(f"parity of {name}")
        found = name, score_windows(scorer, self._windows.faces)
        tolerance = TOLERANCES[scorer.info.precision] if gates else Tolerance()
        if self._last is not None:
            origin = self._windows.origin
            result = compare(self._last, found, origin=origin, tolerance=tolerance)
            self.results.append(result)
        if gates:
            self._last = found
