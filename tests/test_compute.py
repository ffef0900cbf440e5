import os

import pytest

from istvt.compute import count_cores


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system binds no cores")
def test_cores_are_those_of_this_process() -> None:
    assert count_cores() == len(os.sched_getaffinity(0))


def test_where_cores_cannot_be_bound_all_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert count_cores() == 7
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert count_cores() == 1
