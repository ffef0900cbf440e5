"""Results in, the figures that were aimed at out: reached, missed, or not run."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from istvt.benchmarks.gpu_check.result import Result, Status
from istvt.benchmarks.gpu_check.ways import COMPILED, OURS

COPY_PERCENT, TIMES_EAGER, TIMES_COMPILED, PRODUCTS_PERCENT = 80.0, 3.0, 1.3, 60.0


@dataclass(frozen=True)
class Target:
    """One aim.

    Attributes:
        found: what was measured; None where it was not.
        source: the row it is from, or why there is none.
    """

    name: str
    least: float
    found: float | None
    source: str

    @property
    def status(self) -> Status:
        """Whether it was reached."""
        if self.found is None:
            return "not run"
        return "pass" if self.found >= self.least else "fail"


def judge(results: Sequence[Result]) -> list[Target]:
    """Hold the results against all aims."""
    ours = [*_of_latency(results, OURS, batch=1), *_of_scorers(results, batch=1)]
    many = [*_of_latency(results, OURS, batch=8), *_of_scorers(results, batch=8)]
    best = _best(ours, "times_eager")
    rival = _best(_of_latency(results, COMPILED, batch=1), "times_eager")
    copies = [
        result
        for result in results
        if result.part == "kernels" and result.check in _TEMPORAL and result.figures
    ]
    worst_copy = min(copies, key=lambda one: one.figures["of_copy_percent"], default=None)
    return [
        _target(
            "temporal kernel at batch 8, % of a copy of the same bytes (the slower of fp16 and "
            "bf16)",
            COPY_PERCENT,
            worst_copy,
            "of_copy_percent",
        ),
        _target(
            "best fp16 frame at batch 1, times as fast as eager fp16",
            TIMES_EAGER,
            best,
            "times_eager",
        ),
        Target(
            "best fp16 frame at batch 1, times as fast as the faster torch.compile",
            TIMES_COMPILED,
            best.figures["times_eager"] / rival.figures["times_eager"] if best and rival else None,
            f"{best.check} over {rival.check}" if best and rival else _missing(best, rival),
        ),
        _target(
            "best fp16 window at batch 8, % of the rate of large fp16 matrix products",
            PRODUCTS_PERCENT,
            _best(many, "of_products_percent"),
            "of_products_percent",
        ),
    ]


_TEMPORAL = ("temporal fp16 batch 8 speed", "temporal bf16 batch 8 speed")


def _of_latency(results: Sequence[Result], ways: Sequence[str], *, batch: int) -> list[Result]:
    """Take ways that say what they should: a fast wrong one is none, as with the scorers."""
    names = {f"{way} batch {batch}" for way in ways}
    return [
        result
        for result in results
        if result.part in ("latency", "tuned") and result.check in names and result.status == "pass"
    ]


def _of_scorers(results: Sequence[Result], *, batch: int) -> list[Result]:
    """Take those in fp16 that passed, with the figures of one batch."""
    prefix = f"batch_{batch}_"
    return [
        replace(
            result,
            figures={
                name.removeprefix(prefix): value
                for name, value in result.figures.items()
                if name.startswith(prefix)
            },
        )
        for result in results
        if result.part == "scorers" and result.check.endswith(" fp16") and result.status == "pass"
    ]


def _best(candidates: Sequence[Result], figure: str) -> Result | None:
    found = (one for one in candidates if figure in one.figures)
    return max(found, key=lambda one: one.figures[figure], default=None)


def _target(name: str, least: float, found: Result | None, figure: str) -> Target:
    if found is None:
        return Target(name, least, None, "nothing that it is measured by was run")
    return Target(name, least, found.figures[figure], found.check)


def _missing(best: Result | None, rival: Result | None) -> str:
    missing = [name for name, there in (("ours", best), ("torch.compile", rival)) if not there]
    return f"not measured: {', '.join(missing)}"
