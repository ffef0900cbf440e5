"""Results in, the figures that were aimed at out: reached, missed, or not run."""

from collections.abc import Sequence
from dataclasses import dataclass

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
    compiled = _of_latency(results, COMPILED, batch=1)
    many = [*_of_latency(results, OURS, batch=8), *_of_scorers(results, batch=8)]
    best, rival = _best(ours, "times_eager"), _best(compiled, "times_eager")
    quotient = best.value / rival.value if best and rival else None
    copies = [
        _Candidate(result.check, dict(result.figures))
        for result in results
        if result.part == "kernels" and result.check in _TEMPORAL and result.figures
    ]
    worst_copy = min(
        (_Best(one.name, one.figures["of_copy_percent"]) for one in copies),
        key=lambda found: found.value,
        default=None,
    )
    busiest = _best(many, "of_products_percent")
    return [
        _target(
            "temporal kernel at batch 8, % of a copy of the same bytes (the slower of fp16 and "
            "bf16)",
            COPY_PERCENT,
            worst_copy,
        ),
        _target("best fp16 frame at batch 1, times as fast as eager fp16", TIMES_EAGER, best),
        Target(
            "best fp16 frame at batch 1, times as fast as the faster torch.compile",
            TIMES_COMPILED,
            quotient,
            f"{best.name} over {rival.name}" if best and rival else _missing(best, rival),
        ),
        _target(
            "best fp16 window at batch 8, % of the rate of large fp16 matrix products",
            PRODUCTS_PERCENT,
            busiest,
        ),
    ]


_TEMPORAL = ("temporal fp16 batch 8 speed", "temporal bf16 batch 8 speed")


@dataclass(frozen=True)
class _Candidate:
    name: str
    figures: dict[str, float]


@dataclass(frozen=True)
class _Best:
    name: str
    value: float


def _of_latency(results: Sequence[Result], ways: Sequence[str], *, batch: int) -> list[_Candidate]:
    names = {f"{way} batch {batch}" for way in ways}
    return [
        _Candidate(result.check, dict(result.figures))
        for result in results
        if result.part in ("latency", "tuned") and result.check in names and result.figures
    ]


def _of_scorers(results: Sequence[Result], *, batch: int) -> list[_Candidate]:
    """Take those in fp16 that also say what they should: a fast wrong one is none."""
    prefix = f"batch_{batch}_"
    return [
        _Candidate(
            result.check,
            {
                name.removeprefix(prefix): value
                for name, value in result.figures.items()
                if name.startswith(prefix)
            },
        )
        for result in results
        if result.part == "scorers" and result.check.endswith(" fp16") and result.status == "pass"
    ]


def _best(candidates: Sequence[_Candidate], figure: str) -> _Best | None:
    found = (_Best(one.name, one.figures[figure]) for one in candidates if figure in one.figures)
    return max(found, key=lambda best: best.value, default=None)


def _target(name: str, least: float, best: _Best | None) -> Target:
    return Target(
        name,
        least,
        best.value if best else None,
        best.name if best else "nothing that it is measured by was run",
    )


def _missing(best: _Best | None, rival: _Best | None) -> str:
    missing = [name for name, there in (("ours", best), ("torch.compile", rival)) if not there]
    return f"not measured: {', '.join(missing)}"
