"""No check can end the others, and none is left out of the table."""

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from gpu_check import __main__ as command
from gpu_check.parts import PARTS, Part
from gpu_check.result import Settings
from gpu_check.run import run_parts, skip_parts
from tests.gpu_check import fake_checks, fake_late

FAKE = "tests.gpu_check.fake_checks"
SETTINGS = Settings(device="cpu", preset_name="tiny", work="", seconds=0.25)


def part(*, isolated: bool = False) -> Part:
    """Long enough for a busy machine: most of the way to its end, a stack is printed."""
    return Part("fake", "Fakes", FAKE, 60.0, isolated=isolated)


LATE = Part("late", "Late", "tests.gpu_check.fake_late", 3.0)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("out")


@pytest.fixture
def settings(tmp_path):
    return replace(SETTINGS, work=str(tmp_path))


@pytest.fixture(scope="module")
def results(tmp_path_factory, out):
    settings = replace(SETTINGS, work=str(tmp_path_factory.mktemp("work")))
    found = run_parts([part(), LATE], settings, out=out, budget_s=300)
    return {result.check: result for result in found}


def test_each_check_gives_its_row(results):
    assert list(results) == [*fake_checks.CHECKS, *fake_late.CHECKS]
    assert {name: result.status for name, result in results.items()} == {
        "passes": "pass",
        "fails": "fail",
        "gives a way up": "pass",
        "measures": "measured",
        "cannot": "not run",
        "lacks a package": "not run",
        "is too large": "not run",
        "fills the driver's memory": "not run",
        "fills it in Triton": "not run",
        "fills it in cuBLAS": "not run",
        "finds a broken backend": "fail",
        "raises": "fail",
        "has a bug": "fail",
        "comes after": "pass",
        "dies": "fail",
        "comes after a death": "pass",
        "hangs": "fail",
        "builds for ever": "not run",
        "comes last": "pass",
    }


def test_reasons_say_what_happened(results):
    assert results["fails"].note == "2 is not 1"
    assert results["gives a way up"].note == "1 is 1; passes run without a graph"
    assert results["measures"].note == ""
    assert results["cannot"].note == "no such GPU"
    assert results["lacks a package"].note == "abc is needed here"
    assert results["is too large"].note == "the GPU's memory is too small: CUDA out of memory"
    assert "memory is too small: Triton" in results["fills it in Triton"].note
    assert results["raises"].note == "ValueError: illegal memory access"
    assert "SIGABRT" in results["dies"].note
    assert "no answer from its process in 3 s" in results["hangs"].note
    assert "stopped while TensorRT built its engines, after 3 s" in results["builds for ever"].note


def test_a_failure_says_where(results, out):
    """The table goes to who cannot run it again: a traceback, a native stack, where it hung."""
    assert results["has a bug"].note == "KeyError: 'missing'"
    assert 'return {}["missing"]' in results["has a bug"].trace
    assert "no such kernel" in results["dies"].trace
    assert "in aborts" in results["dies"].trace
    assert len(results["dies"].trace.splitlines()) < 30
    assert "in hangs" in results["hangs"].trace
    assert results["dies"].log == "logs/fake-dies.txt"
    assert "no such kernel" in (out / results["dies"].log).read_text()
    assert results["hangs"].seconds >= 3


def test_what_is_printed_is_kept_by_check(results, out):
    assert results["comes after"].log == "logs/fake-comes-after.txt"
    assert (out / results["comes after"].log).read_text() == "a native library says hello\n"
    assert results["comes after"].trace == ""
    assert results["passes"].log == ""
    assert not (out / "logs" / "fake-passes.txt").exists()


def test_settings_and_figures_pass_through(results):
    assert results["measures"].figures["seconds"] == 0.25
    assert results["passes"].figures["x_ms"] == 1.5


def test_a_process_is_kept_until_it_may_be_broken(results):
    pids = {name: result.figures.get("pid") for name, result in results.items()}
    assert pids["passes"] == pids["fails"] == pids["measures"]
    after = [pids["measures"], pids["comes after"], pids["comes after a death"], pids["comes last"]]
    assert len(set(after)) == 4


def test_a_killed_parent_leaves_nothing_behind(settings):
    """A hung kernel would hold the GPU until someone looks."""
    code = f"""
from pathlib import Path
from gpu_check.parts import Part
from gpu_check.run import run_parts
from gpu_check.result import Settings
part = Part("fake", "Fakes", "tests.gpu_check.fake_hang", 60)
work = {settings.work!r}
list(run_parts([part], Settings("cpu", "tiny", work), out=Path(work), budget_s=60))
"""
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[3])
    pids = Path(settings.work) / "pids"
    until(lambda: pids.is_file() and pids.read_text().endswith("\n"))
    started = [int(pid) for pid in pids.read_text().split()]
    assert all(map(is_alive, started))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    until(lambda: not any(map(is_alive, started)))


def until(holds):
    end_s = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.05)


def is_alive(pid):
    """Tell a process from none, and from one that nobody has waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_isolated_checks_share_no_process(monkeypatch, settings, tmp_path):
    keep = {name: fake_checks.CHECKS[name] for name in ("passes", "measures")}
    monkeypatch.setattr(fake_checks, "CHECKS", keep)
    first, second = run_parts([part(isolated=True)], settings, out=tmp_path, budget_s=60)
    assert first.figures["pid"] != second.figures["pid"]


def test_what_time_does_not_allow_is_listed(monkeypatch, settings, tmp_path):
    monkeypatch.setattr(fake_late, "CHECKS", {"hangs": None, "comes last": None})
    cut, late = run_parts([LATE], settings, out=tmp_path, budget_s=2.0)
    assert (cut.status, late.status) == ("not run", "not run")
    assert "it was stopped: run 'late' alone" in cut.note
    assert "(2 s): run 'late' alone" in late.note


def test_the_time_begins_before_the_checks(settings, tmp_path):
    late = list(
        run_parts([part()], settings, out=tmp_path, budget_s=10, since_s=2.0, clock=lambda: 13.0)
    )
    assert {result.status for result in late} == {"not run"}
    assert command.BUDGET_S <= 550


def test_little_time_goes_to_what_is_worth_most():
    names = [part.name for part in PARTS]
    assert names[:6] == ["rates", "kernels", "driver", "model", "latency", "scorers"]
    builds = [part.timeout_s for part in PARTS if any("tensorrt" in name for name in part.checks)]
    assert min(builds) >= 300
    last = list(PARTS[-1].checks)
    assert "tensorrt, plugin auto fp16" in last
    assert "onnxruntime-tensorrt fp16" in last


def test_without_a_gpu_everything_is_listed():
    listed = list(skip_parts(PARTS, "there is none"))
    assert len(listed) == sum(len(part.checks) for part in PARTS) > 60
    assert {(result.status, result.note) for result in listed} == {("not run", "there is none")}
    assert len({(result.part, result.check) for result in listed}) == len(listed)
