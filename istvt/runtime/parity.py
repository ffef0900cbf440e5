"""Compare the logits of two scorers on the same windows."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from istvt.bundle.manifest import Bundle
from istvt.errors import GateError
from istvt.presets import ModelSpec
from istvt.records import FloatArray, Progress, UInt8Array
from istvt.runtime.backends.choose import open_scorer
from istvt.runtime.backends.onnxruntime import OnnxRuntimeScorer
from istvt.scorer import Scorer


@dataclass(frozen=True)
class Tolerance:
    """The largest change that a step may cause; None if a measure does not gate.

    Attributes:
        max_abs_logit: the largest difference between two logits.
        flip_fraction: the fraction of windows whose logit changes sign.
    """

    max_abs_logit: float | None = None
    flip_fraction: float | None = None


TOLERANCES = {
    "fp32": Tolerance(max_abs_logit=1e-4),
    "fp16": Tolerance(max_abs_logit=0.1, flip_fraction=0.005),
    "bf16": Tolerance(max_abs_logit=0.3, flip_fraction=0.005),
    "int8": Tolerance(max_abs_logit=1.0, flip_fraction=0.02),
}
# 2.5 to 6 times the error of correct kernels at logits near 1: `gpu_check.subject`
KERNEL_LIMITS = {"fp16": 0.03, "bf16": 0.1}
RANDOM_PIXELS = "random pixels"
PATCHES = 4  # along each side of a random face


@dataclass(frozen=True)
class SampleWindows:
    """Windows to compare on.

    Attributes:
        faces: `(m, T, S, S, 3)` uint8.
        origin: their source, for the table: "held-out windows" or "random pixels".
    """

    faces: UInt8Array
    origin: str


@dataclass(frozen=True)
class ParityResult:
    """The comparison of one step with the step before it."""

    reference: str
    candidate: str
    windows: int
    origin: str
    max_abs_logit: float
    mean_abs_logit: float
    flips: int
    tolerance: Tolerance

    @property
    def passed(self) -> bool:
        """Whether all logits are finite and every measure that gates is within its tolerance."""
        limit, flips = self.tolerance.max_abs_logit, self.tolerance.flip_fraction
        return (
            math.isfinite(self.max_abs_logit)
            and (limit is None or self.max_abs_logit <= limit)
            and (flips is None or self.flips <= flips * self.windows)
        )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {**asdict(self), "passed": self.passed}


def score_windows(scorer: Scorer, faces: UInt8Array) -> FloatArray:
    """Score windows `(m, T, S, S, 3)` one at a time, so that memory stays small."""
    logits = [scorer.score([scorer.encode(window)]) for window in faces]
    return np.concatenate(logits) if logits else np.zeros(0, dtype=np.float32)


def compare(
    reference: tuple[str, FloatArray],
    candidate: tuple[str, FloatArray],
    *,
    origin: str,
    tolerance: Tolerance,
) -> ParityResult:
    """Compare two named vectors of logits."""
    difference = np.abs(reference[1].astype(np.float64) - candidate[1].astype(np.float64))
    flipped = (reference[1] > 0) != (candidate[1] > 0)
    worst = float(difference.max()) if np.isfinite(difference).all() else math.inf
    return ParityResult(
        reference=reference[0],
        candidate=candidate[0],
        windows=len(difference),
        origin=origin,
        max_abs_logit=worst,
        mean_abs_logit=float(difference.mean()) if math.isfinite(worst) else math.inf,
        flips=int(flipped.sum()),
        tolerance=tolerance,
    )


def engine_tolerance(precision: str, reference: FloatArray) -> Tolerance:
    """Return how far engines may differ from their graphs.

    A wrong kernel may change little, so half precision has the limit of correct kernels. Rounding
    grows with the logits, so the limit scales with the largest logit above 1. It never exceeds
    the tolerance of a graph.

    Args:
        precision: the graphs'.
        reference: the graphs' logits.
    """
    tolerance = TOLERANCES[precision]
    limit = KERNEL_LIMITS.get(precision)
    if limit is None or tolerance.max_abs_logit is None:
        return tolerance
    scaled = limit * max(1.0, float(np.abs(reference).max(initial=0.0)))
    return replace(tolerance, max_abs_logit=min(scaled, tolerance.max_abs_logit))


def random_windows(spec: ModelSpec, *, count: int = 8, seed: int = 0) -> SampleWindows:
    """Make windows of coarse coloured patches under noise, to use when no samples exist.

    Pure noise looks alike everywhere to a model that averages over a picture.
    """
    generator = np.random.default_rng(seed)
    size, cells = spec.image_size, (count, spec.num_frames, PATCHES, PATCHES, 3)
    side = -(-size // PATCHES)
    base = generator.integers(0, 224, (count, 1, *cells[2:]))  # of the window
    base = np.clip(base + generator.integers(-64, 64, cells), 0, 223)  # and of each face
    coarse = base.astype(np.uint8).repeat(side, axis=2).repeat(side, axis=3)[:, :, :size, :size]
    faces: UInt8Array = coarse + generator.integers(0, 32, coarse.shape, dtype=np.uint8)
    return SampleWindows(faces=faces, origin=RANDOM_PIXELS)


def gate(results: Iterable[ParityResult]) -> None:
    """Stop if a step is out of tolerance.

    Raises:
        GateError: names the failed steps, their measures and the allowed limits.
    """
    failed = [result for result in results if not result.passed]
    if failed:
        raise GateError(
            "the export changed the model's output, so the old bundle was kept:\n"
            + format_parity(failed)
        )


def format_parity(results: Sequence[ParityResult]) -> str:
    """Format results as a table for the terminal."""
    rows = [("step", "windows", "max |Δlogit|", "mean |Δlogit|", "flips", "allowed", "")]
    for result in results:
        rows.append(
            (
                f"{result.reference} → {result.candidate}",
                f"{result.windows} ({result.origin})",
                f"{result.max_abs_logit:.1e}",
                f"{result.mean_abs_logit:.1e}",
                f"{result.flips}",
                _describe(result.tolerance),
                "pass" if result.passed else "FAIL",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _describe(tolerance: Tolerance) -> str:
    parts = []
    if tolerance.max_abs_logit is not None:
        parts.append(f"|Δlogit| ≤ {tolerance.max_abs_logit:.0e}")
    if tolerance.flip_fraction is not None:
        parts.append(f"flips ≤ {tolerance.flip_fraction:.1%}")
    return ", ".join(parts) or "reported only"


Scored: TypeAlias = tuple[str, FloatArray]  # a name and its logits


class ParitySteps:
    """Scores the same windows after each step and compares the logits.

    On random pixels sign changes are reported but do not gate: such a logit may lie near 0.

    Attributes:
        results: one for each step but the first.
    """

    def __init__(self, windows: SampleWindows, progress: Progress) -> None:
        self.results: list[ParityResult] = []
        self._windows, self._progress = windows, progress
        self._last: Scored | None = None

    @property
    def have_begun(self) -> bool:
        """Whether the next step has a step to be compared with."""
        return self._last is not None

    def run(self, draft: Bundle, backend: str, *, gates: bool = True) -> None:
        """Compare a backend's logits for the draft with those of the step before.

        The next step is compared with this one if it gates, else with the same one as this.

        Args:
            draft: the bundle in its current state.
            backend: runs the draft.
            gates: False if the backend's precision depends on the machine, not on the graphs.
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
        """Compare the same graphs with each node's result rounded to its type, as a GPU does."""
        with OnnxRuntimeScorer(draft, device="cpu", rounds=True) as scorer:
            precision = scorer.info.precision
            found = self._score(f"onnxruntime {precision} rounded", scorer)
            self._compare(found, TOLERANCES[precision], gates=True)

    def _score(self, name: str, scorer: Scorer) -> Scored:
        self._progress(f"parity of {name}", 0, 0)
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
