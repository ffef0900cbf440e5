"""Turn logits into verdicts: on a track while it runs and once it has ended, and on a source."""

import logging
import math
from dataclasses import dataclass

from istvt.bundle.manifest import ScorePolicy
from istvt.errors import UsageError
from istvt.records import Score, Verdict, VerdictKind

logger = logging.getLogger(__name__)

GAPS_NOTED_AT = 60  # sampled faces of a track, after which missing windows are logged


@dataclass(frozen=True)
class VerdictPolicy:
    """Sets when a score becomes a verdict.

    Attributes:
        threshold: the fake probability in the middle of the band.
        band: half-width of the band around the threshold that is inconclusive.
        hysteresis: how far beyond the threshold a score must move to end a running verdict.
        smoothing: weight of the past in the running mean, at least 0 and below 1.
        min_windows: windows that a track needs before it gets a verdict.
    """

    threshold: float = 0.5
    band: float = 0.1
    hysteresis: float = 0.05
    smoothing: float = 0.8
    min_windows: int = 3

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise UsageError(f"the threshold is {self.threshold}: it must lie between 0 and 1")
        room = min(self.threshold, 1 - self.threshold)
        if not 0 <= self.band < room:
            raise UsageError(
                f"the inconclusive band is {self.band}: it must be at least 0 and below {room:g}, "
                f"so that both verdicts can be reached from threshold {self.threshold}"
            )
        if self.hysteresis < 0 or not 0 <= self.smoothing < 1 or self.min_windows < 1:
            raise UsageError(
                f"hysteresis {self.hysteresis} must be at least 0, smoothing {self.smoothing} in "
                f"[0, 1), min_windows {self.min_windows} at least 1"
            )

    def judge(self, probability: float) -> VerdictKind:
        """Judge one probability on its own, without the verdict before it."""
        if probability >= self.threshold + self.band:
            return VerdictKind.FAKE
        if probability <= self.threshold - self.band:
            return VerdictKind.REAL
        return VerdictKind.INCONCLUSIVE

    def judge_again(self, probability: float, before: VerdictKind) -> VerdictKind:
        """Judge with hysteresis: a verdict holds until `hysteresis` beyond the threshold."""
        if before is VerdictKind.FAKE and probability > self.threshold - self.hysteresis:
            return before
        if before is VerdictKind.REAL and probability < self.threshold + self.hysteresis:
            return before
        return self.judge(probability)


def to_score(logit: float, policy: ScorePolicy) -> Score:
    """Turn a logit into a probability, calibrated if the bundle has a temperature."""
    scaled = logit / (policy.temperature or 1.0)
    probability = 1 / (1 + math.exp(-scaled)) if scaled >= 0 else 1 - 1 / (1 + math.exp(scaled))
    return Score(
        logit=logit, fake_probability=probability, calibrated=policy.temperature is not None
    )


class TrackJudge:
    """Judges one track from its windows, of which it keeps only sums."""

    def __init__(self, track_id: int, *, start_s: float, policy: VerdictPolicy) -> None:
        self.track_id = track_id
        self.windows = 0
        self.frames = 0
        self.broken = 0
        self.gaps = 0
        self.kind = VerdictKind.INCONCLUSIVE
        self.smoothed = policy.threshold
        self._policy = policy
        self._start_s = self._end_s = start_s
        self._probability_sum = self._logit_sum = 0.0
        self._calibrated = False

    def see(self, time_s: float, *, gaps: int = 0) -> None:
        """Count a sampled face at this time; `gaps` counts the track's gaps until now."""
        self.frames += 1
        self.gaps = gaps
        self._end_s = time_s
        if self.frames == GAPS_NOTED_AT and self._is_starved():
            logger.warning("track %d: %s", self.track_id, self._why_starved())

    def add_broken(self) -> None:
        """Count a window whose score is not a number; the verdict ignores it."""
        self.broken += 1

    def add(self, score: Score) -> VerdictKind:
        """Add the score of the window that ends now, and return the running verdict."""
        self.windows += 1
        self._calibrated = score.calibrated
        self._probability_sum += score.fake_probability
        self._logit_sum += score.logit
        past = min(self._policy.smoothing, 1 - 1 / self.windows)  # a plain mean at first
        self.smoothed = past * self.smoothed + (1 - past) * score.fake_probability
        if self.windows >= self._policy.min_windows:
            self.kind = self._policy.judge_again(self.smoothed, self.kind)
        return self.kind

    def verdict(self) -> Verdict:
        """Judge the whole track by the mean over its windows, as the paper scores videos."""
        score = self._mean_score()
        if score is None or self.windows < self._policy.min_windows:
            kind = VerdictKind.INCONCLUSIVE
            reason = self._why_starved() if self._is_starved() else self._too_few()
        else:
            kind = self._policy.judge(score.fake_probability)
            reason = f"mean of {self.windows} windows"
        if self.broken:
            reason += f"; {self.broken} windows gave no number and were left out"
        return Verdict(
            kind=kind,
            score=score,
            track_id=self.track_id,
            start_s=self._start_s,
            end_s=self._end_s,
            reason=reason,
            windows=self.windows,
        )

    def _too_few(self) -> str:
        return (
            f"{self.windows} windows from {self.frames} sampled faces; "
            f"a verdict takes {self._policy.min_windows} windows"
        )

    def _is_starved(self) -> bool:
        """Check whether windows are missing because frames come too far apart."""
        return self.windows == 0 and self.gaps > self.frames // 2

    def _why_starved(self) -> str:
        return (
            f"no window: {self.gaps} of {self.frames} sampled faces came too long after the one "
            "before for a window of consecutive frames; use a faster backend or a smaller preset, "
            "or train with a lower --sample-fps"
        )

    def _mean_score(self) -> Score | None:
        if self.windows == 0:
            return None
        return Score(
            logit=self._logit_sum / self.windows,
            fake_probability=self._probability_sum / self.windows,
            calibrated=self._calibrated,
        )


class SourceJudge:
    """Judges one source from its tracks, of which it keeps only the strongest of each kind."""

    def __init__(self, policy: VerdictPolicy) -> None:
        self.tracks = 0
        self._policy = policy
        self._strongest: dict[VerdictKind, Verdict] = {}
        self._undecided = 0

    def add(self, verdict: Verdict) -> None:
        """Add the verdict on a track that has ended."""
        self.tracks += 1
        if verdict.score is None or verdict.windows < self._policy.min_windows:
            self._undecided += 1
            return
        known = self._strongest.get(verdict.kind)
        if known is None or known.score is None or _is_stronger(verdict.score, known.score):
            self._strongest[verdict.kind] = verdict

    def verdict(self, *, end_s: float, broken: str | None = None) -> Verdict:
        """Judge the source: fake if any face is fake, real if every face with a verdict is real.

        Args:
            end_s: when the source ended.
            broken: why it was not read to its end, which makes the verdict inconclusive.
        """
        kind, strongest, reason = self._conclude()
        if broken is not None:
            reason = f"partial: {broken}; what was read: {kind.value}, {reason}"
            kind = VerdictKind.INCONCLUSIVE
        return Verdict(
            kind=kind,
            score=strongest.score if strongest else None,
            track_id=None,
            start_s=0.0,
            end_s=end_s,
            reason=reason,
            windows=strongest.windows if strongest else 0,
        )

    def _conclude(self) -> tuple[VerdictKind, Verdict | None, str]:
        if self.tracks == 0:
            return VerdictKind.NO_FACE, None, "no face was found"
        for kind in (VerdictKind.FAKE, VerdictKind.INCONCLUSIVE, VerdictKind.REAL):
            found = self._strongest.get(kind)
            if found is not None:
                return kind, found, f"track {found.track_id}: {found.reason}"
        reason = f"{self._undecided} faces, none seen long enough for a verdict"
        return VerdictKind.INCONCLUSIVE, None, reason


def _is_stronger(score: Score, known: Score) -> bool:
    return score.fake_probability > known.fake_probability
