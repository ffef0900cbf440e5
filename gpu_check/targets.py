"""Results in, the figures that were aimed at out: reached, missed, or not run."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gpu_check.profile import name_of
from gpu_check.result import Result, Status
from gpu_check.scorers import UNFUSED
from gpu_check.ways import COMPILED, OURS, WayName

COPY_PERCENT, TIMES_EAGER, TIMES_COMPILED, PRODUCTS_PERCENT = 80.0, 3.0, 1.3, 60.0
STAND_IN: WayName = "fused"  # whose profile is shown for what has none of its own


@dataclass(frozen=True)
class Target:
    """One aim.

    Attributes:
        found: what was measured; None where it was not.
        source: the row it is from, or why there is none.
        profile: where the time goes that it is missed by, where that is known.
    """

    name: str
    least: float
    found: float | None
    source: str
    profile: str = ""

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
    best, busiest = _best(ours, "times_eager"), _best(many, "of_products_percent")
    rival = _best(_of_latency(results, COMPILED, batch=1), "times_eager")
    return [
        _temporal(results),
        _target(
            "best fp16 frame at batch 1, times as fast as eager fp16",
            TIMES_EAGER,
            best,
            "times_eager",
            profile=_profile(results, best, batch=1),
        ),
        Target(
            "best fp16 frame at batch 1, times as fast as the faster torch.compile",
            TIMES_COMPILED,
            best.figures["times_eager"] / rival.figures["times_eager"] if best and rival else None,
            f"{best.check} over {rival.check}" if best and rival else _missing(best, rival),
            _profile(results, best, batch=1),
        ),
        _target(
            "best fp16 window at batch 8, % of the rate of large fp16 matrix products",
            PRODUCTS_PERCENT,
            busiest,
            "of_products_percent",
            profile=_profile(results, busiest, batch=8),
        ),
    ]


def _temporal(results: Sequence[Result]) -> Target:
    """Take the slower type; where one of them says something else, neither is fast."""
    name = "temporal kernel at batch 8, % of the faster copy (the slower of fp16 and bf16)"
    kernels = {result.check: result for result in results if result.part == "kernels"}
    speeds = []
    for dtype in ("fp16", "bf16"):
        speed = kernels.get(f"temporal {dtype} batch 8 speed")
        if speed is None or not speed.figures:
            continue
        values = f"temporal {dtype} values"
        if values not in kernels or kernels[values].status != "pass":
            return Target(name, COPY_PERCENT, None, f"'{values}' did not pass")
        speeds.append(speed)
    slower = min(speeds, key=lambda one: one.figures["of_copy_percent"], default=None)
    return _target(name, COPY_PERCENT, slower, "of_copy_percent")


def _of_latency(results: Sequence[Result], ways: Sequence[str], *, batch: int) -> list[Result]:
    """Take ways that say what they should: a fast wrong one is none, as with the scorers."""
    names = {f"{way} batch {batch}" for way in ways}
    return [
        result
        for result in results
        if result.part in ("latency", "tuned") and result.check in names and result.status == "pass"
    ]


def _of_scorers(results: Sequence[Result], *, batch: int) -> list[Result]:
    """Take those in fp16 that passed and did not give our kernels up, at one batch."""
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
        if result.part in ("scorers", "builds")
        and result.check.endswith(" fp16")
        and result.status == "pass"
        and UNFUSED not in result.note
    ]


def _best(candidates: Sequence[Result], figure: str) -> Result | None:
    found = (one for one in candidates if figure in one.figures)
    return max(found, key=lambda one: one.figures[figure], default=None)


def _profile(results: Sequence[Result], best: Result | None, *, batch: int) -> str:
    """Give the profile of a way; what has none is told so, and given that of a PyTorch way."""
    profiles = {
        result.check: result.note
        for result in results
        if result.part == "profile" and result.figures
    }
    if best is None:
        return ""
    for way in OURS:
        if best.check == f"{way} batch {batch}":
            return profiles.get(name_of(way, batch), "")
    found = profiles.get(name_of(STAND_IN, batch), "")
    return found and f"{found}\n(of PyTorch's fused way: {best.check} has no profile)"


def _target(
    name: str, least: float, found: Result | None, figure: str, *, profile: str = ""
) -> Target:
    if found is None:
        return Target(name, least, None, "nothing that it is measured by was run")
    return Target(name, least, found.figures[figure], found.check, profile)


def _missing(best: Result | None, rival: Result | None) -> str:
    missing = [name for name, there in (("ours", best), ("torch.compile", rival)) if not there]
    return f"not measured: {', '.join(missing)}"
