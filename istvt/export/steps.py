"""A draft of a bundle after each step of its making in, the comparison with the step before out."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from istvt.export.bundle import Bundle
from istvt.export.parity import (
    RANDOM_PIXELS,
    TOLERANCES,
    ParityResult,
    SampleWindows,
    Tolerance,
    compare,
    engine_tolerance,
    score_windows,
)
from istvt.records import FloatArray
from istvt.runtime.backends.choose import open_scorer
from istvt.runtime.backends.onnxruntime import OnnxRuntimeScorer
from istvt.runtime.scorer import Scorer

Progress: TypeAlias = Callable[[str], None]
Scored: TypeAlias = tuple[str, FloatArray]  # a name and its logits


class ParitySteps:
    """Scores the same windows after each step.

    Sides of logit 0 are told and not gated on random pixels: a model may put such a window there.

    Attributes:
        results: one for each step but the first.
    """

    def __init__(self, windows: SampleWindows, progress: Progress) -> None:
        self.results: list[ParityResult] = []
        self._windows, self._progress = windows, progress
        self._last: Scored | None = None

    @property
    def have_begun(self) -> bool:
        """Whether there is something to compare the next step with."""
        return self._last is not None

    def run(self, draft: Bundle, backend: str, *, gates: bool = True) -> None:
        """Compare what a backend says of the draft with the step before.

        The next is compared with this one if it gates, else with the same as this one.

        Args:
            draft: as it is now.
            backend: that runs it.
            gates: False where the backend computes as the machine allows, not as the graphs say.
        """
        with open_scorer(draft, backend=backend, device="cpu") as scorer:
            tolerance = TOLERANCES[scorer.info.precision] if gates else Tolerance()
            found = self._score(f"{backend} {scorer.info.precision}", scorer)
            self._compare(found, tolerance, gates=gates)

    def run_engines(self, draft: Bundle, backend: str) -> None:
        """Compare engines on the GPU with the graphs that they were built from."""
        with open_scorer(draft, backend=backend, device="cuda", eager_kernels=True) as scorer:
            found = self._score(f"{backend} {scorer.info.precision}", scorer)
            logits = found[1] if self._last is None else self._last[1]
            self._compare(found, engine_tolerance(scorer.info.precision, logits), gates=True)

    def run_rounded(self, draft: Bundle) -> None:
        """Compare the very graphs with each node's result rounded to its type, as a GPU does."""
        with OnnxRuntimeScorer(draft, device="cpu", rounds=True) as scorer:
            precision = scorer.info.precision
            found = self._score(f"onnxruntime {precision} rounded", scorer)
            self._compare(found, TOLERANCES[precision], gates=True)

    def _score(self, name: str, scorer: Scorer) -> Scored:
        self._progress(f"parity of {name}")
        return name, score_windows(scorer, self._windows.faces)

    def _compare(self, found: Scored, tolerance: Tolerance, *, gates: bool) -> None:
        origin = self._windows.origin
        if origin == RANDOM_PIXELS:
            tolerance = replace(tolerance, flip_fraction=None)
        if self._last is not None:
            result = compare(self._last, found, origin=origin, tolerance=tolerance)
            self.results.append(result)
        if gates:
            self._last = found
