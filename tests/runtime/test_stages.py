import pytest

from istvt.runtime.stages import KEPT_SAMPLES, StageTimers, format_stages


def test_percentiles_shares_and_order():
    timers = StageTimers()
    for number in range(1, 101):
        timers.add("read", number / 1000)
    timers.add("score", 5.05)
    read, score = timers.summary()
    assert (read.stage, score.stage) == ("read", "score")
    assert read.calls == 100
    assert read.p50_ms == pytest.approx(50.5)
    assert read.p99_ms == pytest.approx(99.01)
    assert read.total_s == pytest.approx(5.05)
    assert (read.share, score.share) == pytest.approx((0.5, 0.5))


def test_memory_is_flat_and_sums_are_not_lost():
    timers = StageTimers()
    for _ in range(KEPT_SAMPLES + 10):
        timers.add("read", 0.001)
    assert len(timers._latest["read"]) == KEPT_SAMPLES
    assert timers.summary()[0].calls == KEPT_SAMPLES + 10


def test_a_block_that_raises_is_counted_too():
    timers = StageTimers()
    with pytest.raises(ZeroDivisionError), timers.time("read"):
        1 / 0  # noqa: B018
    assert timers.summary()[0].calls == 1


def test_the_table_has_a_line_a_stage():
    timers = StageTimers()
    timers.add("encode", 0.0123)
    assert "12.30" in format_stages(timers.summary())
    assert len(format_stages(timers.summary()).splitlines()) == 2
