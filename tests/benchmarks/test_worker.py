"""The measured side of a benchmark."""

import io
import json
import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from istvt import api
from istvt.benchmarks import worker
from istvt.benchmarks.timing import FrameTime
from istvt.benchmarks.worker import Job, open_subject, peak_rss_mib, serve
from istvt.errors import BackendError
from tests.benchmarks.fakes import FakeClock, FakeScorer, frame

LOAD = {"do": "load", "subject": "torch", "bundle": "b", "device": "cpu", "threads": 2}


class Steady:
    device, precision = "cpu", "fp32"

    def __call__(self) -> FrameTime:
        return frame(100.0, encoder_ms=25.0)


def answers(*requests: dict[str, object]) -> list[dict[str, object]]:
    replies = io.StringIO()
    serve(io.StringIO("".join(json.dumps(request) + "\n" for request in requests)), replies)
    return [json.loads(line) for line in replies.getvalue().splitlines()]


def test_loads_warms_up_and_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs: list[Job] = []
    monkeypatch.setattr(worker, "open_subject", lambda job: jobs.append(job) or Steady())
    loaded, warm, measured = answers(LOAD, {"do": "warm_up"}, {"do": "measure", "seconds": 0.3})
    assert jobs == [Job(subject="torch", bundle="b", device="cpu", threads=2)]
    assert loaded == {"device": "cpu", "precision": "fp32"}
    assert warm == {"calls": 3}
    assert measured["times"] == [[0.025, 0.075]] * 3
    assert measured["peak_rss_mib"] == pytest.approx(peak_rss_mib(), rel=0.5)


def test_what_does_not_run_here_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(job: Job) -> Steady:
        raise BackendError("no such device")

    monkeypatch.setattr(worker, "open_subject", refuse)
    assert answers(LOAD) == [{"error": "no such device"}]


def test_figures_are_of_the_kernels_that_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT-RTX runs others while it compiles those."""
    asked: list[dict[str, object]] = []

    def open_scorer(bundle: object, **options: object) -> FakeScorer:
        asked.append(options)
        return FakeScorer(FakeClock(), encode_s=0.0, score_s=0.0)

    monkeypatch.setattr(api, "open_scorer", open_scorer)
    monkeypatch.setattr(api, "open_bundle", lambda folder: None)
    open_subject(Job(subject="tensorrt_rtx", bundle="b", device="auto", threads=2))
    expected = {"backend": "tensorrt_rtx", "device": "auto", "threads": 2, "eager_kernels": True}
    assert asked == [expected]


def test_measuring_before_loading_is_a_bug() -> None:
    with pytest.raises(ValueError, match="measure"):
        answers({"do": "measure", "seconds": 1.0})


def test_peak_memory_is_this_process_own() -> None:
    ballast = bytes(300 << 20).replace(b"\0", b"x")  # a child's ru_maxrss would start from here
    assert peak_rss_mib() > len(ballast) / 2**20
    assert 5 < float(output_of("print(peak_rss_mib())")) < 200


def test_peak_memory_remembers_what_was_freed() -> None:
    code = "before = peak_rss_mib(); len(b'x' * (200 << 20)); print(peak_rss_mib() - before)"
    assert 190 < float(output_of(code)) < 250


@pytest.mark.parametrize(("platform", "expected_mib"), [("darwin", 3), ("freebsd14", 3 * 1024)])
def test_the_unit_of_peak_memory_is_the_systems(
    monkeypatch: pytest.MonkeyPatch, platform: str, expected_mib: float
) -> None:
    monkeypatch.setattr(Path, "is_file", lambda path: False)  # no /proc
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=3 * 2**20))
    assert peak_rss_mib() == expected_mib


def test_peak_memory_may_be_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_file", lambda path: False)
    monkeypatch.setitem(sys.modules, "resource", None)
    assert peak_rss_mib() is None


def output_of(code: str) -> str:
    code = f"from istvt.benchmarks.worker import peak_rss_mib; {code}"
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
