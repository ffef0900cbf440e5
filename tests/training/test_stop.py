"""Signals become requests, and come back as they were."""

import os
import signal
import threading

import pytest

from istvt.training import stop as module
from istvt.training.stop import stop_requests


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_a_request_and_no_exception(number):
    before = signal.getsignal(number)
    with stop_requests() as request:
        assert not request.is_set
        os.kill(os.getpid(), number)
        assert request.is_set
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_gives_up_unless_it_is_the_same_one(monkeypatch):
    now_s = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now_s[0])
    with stop_requests():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)  # torchrun's copy of it
        now_s[0] += 2
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_another_thread_takes_no_signals():
    taken = []

    def run():
        with stop_requests() as request:
            taken.append(request.is_set)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert taken == [False]
