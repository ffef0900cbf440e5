"""A queued sink: in order and whole while the sink keeps up; else counted, and never in the way.

The sinks wait for events, so that no test depends on how fast the machine is.
"""

from threading import Event, current_thread

import numpy as np
import pytest

from istvt.presets import TINY
from istvt.records import Frame
from istvt.runtime.hub import Hub
from istvt.runtime.pipeline import FrameResult
from istvt.runtime.policy import VerdictPolicy
from istvt.runtime.session import Session
from istvt.runtime.sinks.queued import QueuedSink
from tests.fakes import FakeScorer
from tests.runtime.sources import BRIGHT, MadeSource, frames_of, picture, pipeline_of

LONG_S = 60.0  # never waited for in full, unless a test fails


class Recorder:
    """Notes its calls; `take` waits for `gate`."""

    def __init__(self, *, gate=None, wish=True):
        self.calls, self.threads = [], set()
        self.entered = [Event() for _ in range(100)]
        self.gate, self.wish = gate, wish

    def note(self, call):
        self.calls.append(call)
        self.threads.add(current_thread())

    def take(self, result):
        self.note(result.frame.index)
        self.entered[result.frame.index].set()
        assert self.gate is None or self.gate.wait(LONG_S)
        return self.wish

    def finish(self, report):
        self.note(report)

    def close(self):
        self.note("close")


class Raising(Recorder):
    """Raises at one of its calls."""

    def __init__(self, at):
        super().__init__()
        self.at, self.raised = at, Event()

    def note(self, call):
        super().note(call)
        if call == self.at:
            self.raised.set()
            raise OSError("disk full")


def result(index):
    frame = Frame(np.zeros((4, 4, 3), np.uint8), index, index / 25, "made.mp4")
    return FrameResult(frame, tracks=(), ended=(), is_cut=False)


def queued(sink, **options):
    return QueuedSink(sink, **{"size": 100, "close_timeout_s": LONG_S, **options})


def test_a_sink_that_keeps_up_loses_nothing_and_sees_the_order():
    recorder = Recorder()
    sink = queued(recorder)
    assert all(sink.take(result(index)) for index in range(100))
    sink.finish("report")
    sink.close()
    assert recorder.calls == [*range(100), "report", "close"]
    assert (sink.dropped, sink.failed, sink.last_error) == (0, 0, None)
    (thread,) = recorder.threads
    assert thread is not current_thread()
    assert not thread.is_alive()


def test_a_slow_sink_misses_the_oldest_results_which_are_counted():
    recorder = Recorder(gate=Event())
    sink = queued(recorder, size=3)
    sink.take(result(0))
    assert recorder.entered[0].wait(LONG_S)
    assert all(sink.take(result(index)) for index in range(1, 11)), "no call waits for the sink"
    assert sink.dropped == 7
    recorder.gate.set()
    sink.close()
    assert recorder.calls == [0, 8, 9, 10, "close"]
    assert sink.dropped == 7


def test_a_hanging_sink_is_given_up(caplog):
    recorder = Recorder(gate=Event())
    sink = queued(recorder, close_timeout_s=0.05)
    sink.take(result(0))
    assert recorder.entered[0].wait(LONG_S)
    sink.take(result(1))
    sink.take(result(2))
    sink.finish("report")
    sink.close()
    assert recorder.calls == [0]
    assert sink.dropped == 2
    (record,) = caplog.records
    assert "Recorder did not close within 0.05 s: 2 waiting results are lost" in record.getMessage()
    recorder.gate.set()  # it may come round later, and then closes its files
    sink.close()
    (thread,) = recorder.threads
    thread.join(LONG_S)
    assert recorder.calls == [0, "report", "close"]


def test_a_sink_that_raises_is_switched_off_and_closed(caplog):
    raising = Raising(at=1)
    sink = queued(raising)
    sink.take(result(0))
    sink.take(result(1))
    assert raising.raised.wait(LONG_S)
    assert all(sink.take(result(index)) for index in range(2, 50))
    sink.finish("report")
    sink.close()
    assert raising.calls == [0, 1, "close"]
    assert (sink.dropped, sink.failed, sink.last_error) == (48, 1, "OSError: disk full")
    (record,) = caplog.records
    assert "Raising failed and is switched off: disk full" in record.getMessage()


@pytest.mark.parametrize("at", ["report", "close"])
def test_a_sink_that_raises_at_the_end_is_counted(at):
    raising = Raising(at=at)
    sink = queued(raising)
    sink.take(result(0))
    sink.finish("report")
    sink.close()
    assert raising.calls == [0, "report", "close"]
    assert (sink.dropped, sink.failed) == (0, 1)


def test_a_wish_for_the_end_is_passed_on_at_the_next_result():
    recorder = Recorder(gate=Event(), wish=False)
    sink = queued(recorder)
    assert sink.take(result(0))
    sink.take(result(1))
    recorder.gate.set()
    assert recorder.entered[1].wait(LONG_S), "the first call has returned"
    assert not sink.take(result(2))
    sink.close()
    assert recorder.calls == [0, 1, 2, "close"]


def test_a_closed_sink_takes_nothing():
    recorder = Recorder()
    sink = queued(recorder)
    sink.close()
    assert sink.take(result(0))
    sink.close()
    assert recorder.calls == ["close"]
    assert sink.dropped == 1


@pytest.mark.parametrize("kind", ["hanging", "raising"])
def test_a_bad_sink_changes_nothing_for_scoring_and_the_other_sinks(kind):
    def run(sinks):
        source = MadeSource(frames_of([picture((0, 1, BRIGHT))] * 40))
        hub = Hub(FakeScorer(TINY))
        return Session(source, pipeline_of(), hub=hub, policy=VerdictPolicy()).run(sinks)

    gate, good = Event(), Recorder()
    bad = Recorder(gate=gate) if kind == "hanging" else Raising(at=3)
    sink = QueuedSink(bad, size=4, close_timeout_s=0.05)
    report = run([sink, good])
    gate.set()
    assert report == run([])
    assert good.calls == [*range(40), report, "close"]
    assert len([call for call in bad.calls if isinstance(call, int)]) + sink.dropped <= 40
    assert sink.dropped > 0
