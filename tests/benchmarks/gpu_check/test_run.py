"""No check can end the others, and none is left out of the table."""

import pytest

from istvt.benchmarks.gpu_check.parts import PARTS, Part
from istvt.benchmarks.gpu_check.result import Settings
from istvt.benchmarks.gpu_check.run import run_parts, skip_parts
from tests.benchmarks.gpu_check import fake_checks

FAKE = "tests.benchmarks.gpu_check.fake_checks"
SETTINGS = Settings(device="cpu", preset_name="tiny", work="", seconds=0.25)


def part(*, isolated: bool = False) -> Part:
    return Part("fake", "Fakes", FAKE, 3.0, isolated=isolated)


@pytest.fixture(scope="module")
def results():
    return {result.check: result for result in run_parts([part()], SETTINGS, budget_s=60)}


def test_each_check_gives_its_row(results):
    assert list(results) == list(fake_checks.CHECKS)
    assert {name: result.status for name, result in results.items()} == {
        "passes": "pass",
        "fails": "fail",
        "gives a way up": "pass",
        "measures": "measured",
        "cannot": "not run",
        "lacks a package": "not run",
        "is too large": "not run",
        "finds a broken backend": "fail",
        "raises": "fail",
        "comes after": "pass",
        "dies": "fail",
        "comes after a death": "pass",
        "hangs": "fail",
        "comes last": "pass",
    }


def test_reasons_say_what_happened(results):
    assert results["fails"].note == "2 is not 1"
    assert results["gives a way up"].note == "1 is 1; passes run without a graph"
    assert results["measures"].note == ""
    assert results["cannot"].note == "no such GPU"
    assert results["lacks a package"].note == "abc is needed here"
    assert "memory is too small" in results["is too large"].note
    assert results["raises"].note == "ValueError: illegal memory access"
    assert "SIGABRT" in results["dies"].note
    assert "no answer from its process in 3 s" in results["hangs"].note


def test_settings_and_figures_pass_through(results):
    assert results["measures"].figures["seconds"] == 0.25
    assert results["passes"].figures["x_ms"] == 1.5


def test_a_process_is_kept_until_it_may_be_broken(results):
    pids = {name: result.figures.get("pid") for name, result in results.items()}
    assert pids["passes"] == pids["fails"] == pids["measures"]
    after = [pids["measures"], pids["comes after"], pids["comes after a death"], pids["comes last"]]
    assert len(set(after)) == 4


def test_isolated_checks_share_no_process(monkeypatch):
    keep = {name: fake_checks.CHECKS[name] for name in ("passes", "measures")}
    monkeypatch.setattr(fake_checks, "CHECKS", keep)
    first, second = run_parts([part(isolated=True)], SETTINGS, budget_s=60)
    assert first.figures["pid"] != second.figures["pid"]


def test_what_time_does_not_allow_is_listed(monkeypatch):
    monkeypatch.setattr(fake_checks, "CHECKS", {"passes": None, "hangs": None, "measures": None})
    first, cut, late = run_parts([part()], SETTINGS, budget_s=2.0)
    assert (first.status, cut.status, late.status) == ("pass", "not run", "not run")
    assert "it was stopped: run 'fake' alone" in cut.note
    assert "(2 s): run 'fake' alone" in late.note


def test_little_time_goes_to_what_is_worth_most():
    names = [part.name for part in PARTS]
    assert names[:6] == ["rates", "kernels", "driver", "model", "scorers", "latency"]
    builds = [part.timeout_s for part in PARTS if any("tensorrt" in name for name in part.checks)]
    assert min(builds) >= 300


def test_without_a_gpu_everything_is_listed():
    listed = list(skip_parts(PARTS, "there is none"))
    assert len(listed) == sum(len(part.checks) for part in PARTS) > 60
    assert {(result.status, result.note) for result in listed} == {("not run", "there is none")}
    assert len({(result.part, result.check) for result in listed}) == len(listed)
