import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from istvt.bundle.manifest import ScorePolicy
from istvt.errors import UsageError
from istvt.records import VerdictKind
from istvt.runtime.policy import SourceJudge, TrackJudge, VerdictPolicy, to_score

FAKE, REAL = VerdictKind.FAKE, VerdictKind.REAL
INCONCLUSIVE, NO_FACE = VerdictKind.INCONCLUSIVE, VerdictKind.NO_FACE


def logit_of(probability):
    return float(np.log(probability / (1 - probability)))


def judge_of(probabilities, *, track_id=1, policy=VerdictPolicy()):
    judge = TrackJudge(track_id, start_s=0.0, policy=policy)
    for index, probability in enumerate(probabilities):
        judge.see(index / 25)
        judge.add(to_score(logit_of(probability), ScorePolicy()))
    return judge


@pytest.mark.parametrize("logit", [-800.0, -3.0, 0.0, 3.0, 800.0])
def test_a_logit_becomes_a_probability_without_overflow(logit):
    score = to_score(logit, ScorePolicy())
    assert score.fake_probability == pytest.approx(1 / (1 + np.exp(-np.longdouble(logit))))
    assert not score.calibrated


def test_a_temperature_cools_the_probability_and_is_told():
    score = to_score(2.0, ScorePolicy(temperature=2.0))
    assert score.fake_probability == pytest.approx(1 / (1 + np.exp(-1.0)))
    assert score.calibrated
    assert score.logit == 2.0


@pytest.mark.parametrize(
    ("probability", "kind"),
    [(0.61, FAKE), (0.59, INCONCLUSIVE), (0.41, INCONCLUSIVE), (0.39, REAL)],
)
def test_the_band_around_the_threshold_concludes_nothing(probability, kind):
    assert judge_of([probability] * 5).verdict().kind is kind


def test_nothing_is_concluded_from_too_few_windows():
    judge = judge_of([0.99, 0.99])
    assert judge.kind is INCONCLUSIVE
    assert judge.verdict().kind is INCONCLUSIVE
    assert "2 windows from 2 sampled faces" in judge.verdict().reason
    assert judge_of([0.99] * 3).verdict().kind is FAKE


def test_a_face_without_a_window_has_no_score():
    judge = TrackJudge(7, start_s=1.0, policy=VerdictPolicy())
    judge.see(1.2)
    verdict = judge.verdict()
    assert verdict.score is None
    assert (verdict.start_s, verdict.end_s, verdict.track_id) == (1.0, 1.2, 7)


def test_the_running_verdict_turns_only_beyond_the_hysteresis():
    policy = VerdictPolicy(smoothing=0.0, min_windows=1)
    judge = judge_of([0.9], policy=policy)
    kinds = [
        judge.add(to_score(logit_of(probability), ScorePolicy()))
        for probability in (0.55, 0.46, 0.44, 0.39, 0.54, 0.56, 0.61)
    ]
    assert kinds == [FAKE, FAKE, INCONCLUSIVE, REAL, REAL, INCONCLUSIVE, FAKE]


def test_a_single_odd_window_does_not_turn_the_running_verdict():
    judge = judge_of([0.05] * 20)
    assert judge.add(to_score(logit_of(0.99), ScorePolicy())) is REAL
    for _ in range(12):
        kind = judge.add(to_score(logit_of(0.99), ScorePolicy()))
    assert kind is FAKE


@given(st.lists(st.floats(0.001, 0.999), min_size=1, max_size=60))
def test_the_verdict_is_the_mean_over_the_windows(probabilities):
    judge = judge_of(probabilities)
    verdict = judge.verdict()
    assert verdict.score.fake_probability == pytest.approx(np.mean(probabilities))
    assert min(probabilities) - 1e-9 <= judge.smoothed <= max(probabilities) + 1e-9
    assert verdict.windows == len(probabilities)


@pytest.mark.parametrize(
    ("tracks", "expected"),
    [
        ([], NO_FACE),
        ([[0.1] * 5], REAL),
        ([[0.1] * 5, [0.9] * 5], FAKE),
        ([[0.1] * 5, [0.5] * 5], INCONCLUSIVE),
        ([[0.1] * 5, [0.99]], REAL),  # the second was seen too briefly to count
        ([[0.99]], INCONCLUSIVE),
    ],
)
def test_a_source_is_fake_where_one_face_is(tracks, expected):
    judge = SourceJudge(VerdictPolicy())
    for number, probabilities in enumerate(tracks):
        judge.add(judge_of(probabilities, track_id=number).verdict())
    assert judge.verdict(end_s=2.0).kind is expected
    assert judge.tracks == len(tracks)


def test_the_most_suspicious_track_speaks_for_the_source():
    judge = SourceJudge(VerdictPolicy())
    for track_id, probability in ((1, 0.8), (2, 0.95), (3, 0.7)):
        judge.add(judge_of([probability] * 4, track_id=track_id).verdict())
    verdict = judge.verdict(end_s=1.0)
    assert verdict.score.fake_probability == pytest.approx(0.95)
    assert "track 2" in verdict.reason


def test_what_was_not_read_to_its_end_is_never_judged_as_a_whole():
    judge = SourceJudge(VerdictPolicy())
    judge.add(judge_of([0.99] * 9).verdict())
    verdict = judge.verdict(end_s=1.0, broken="read 9 of 20 frames")
    assert verdict.kind is INCONCLUSIVE
    assert "partial: read 9 of 20 frames" in verdict.reason
    assert "what was read: fake" in verdict.reason


@pytest.mark.parametrize(
    "values",
    [{"threshold": 0.0}, {"threshold": 1.0}, {"band": 0.5}, {"band": -0.1}, {"smoothing": 1.0},
     {"min_windows": 0}, {"hysteresis": -1.0}, {"threshold": 0.95}],
)  # fmt: skip
def test_policies_that_can_reach_no_verdict_are_refused(values):
    with pytest.raises(UsageError):
        VerdictPolicy(**values)
