"""No job can end the others, and none is left out of the table."""

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from gpu_check import __main__ as command
from gpu_check.jobs import Job, run_jobs
from gpu_check.plan import JOBS
from gpu_check.subject import Settings
from gpu_check.table import Row
from tests.gpu_check import fake_checks

SETTINGS = Settings(device="cpu", preset_name="tiny", work="", seconds=0.25)
TESTS = str(Path(__file__).with_name("fake_tests.py").relative_to(Path.cwd()))


def run(jobs, log, *, seconds=300.0, settings=SETTINGS):
    return list(run_jobs(jobs, settings, log=log, end_s=time.monotonic() + seconds))


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return tmp_path_factory.mktemp("out") / "log.txt"


@pytest.fixture(scope="module")
def rows(log):
    return {row.name: row for row in run(fake_checks.JOBS, log)}


def test_each_job_gives_its_row(rows):
    assert {name: row.status for name, row in rows.items()} == {
        "passes": "pass",
        "fails": "fail",
        "measures": "measured",
        "gives a way up": "pass",
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
        "builds for ever": "out of time",
        "hangs after a build": "fail",
        "comes last": "pass",
    }
    assert list(rows) == [job.row.name for job in fake_checks.JOBS]


def test_reasons_say_what_happened(rows):
    assert rows["fails"].reason == "2 is not 1"
    assert rows["gives a way up"].note == "1 is 1; passes run without a graph"
    assert rows["measures"].reason == rows["measures"].note == ""
    assert rows["cannot"].reason == "no such GPU"
    assert rows["lacks a package"].reason == "abc is needed here"
    assert rows["is too large"].reason == "the GPU's memory is too small: CUDA out of memory"
    assert "memory is too small: Triton" in rows["fills it in Triton"].reason
    assert rows["raises"].reason == "ValueError: illegal memory access"
    assert "SIGABRT" in rows["dies"].reason
    assert "no answer from its process in 3 s" in rows["hangs"].reason
    assert rows["hangs"].seconds >= 3
    assert "stopped while TensorRT built its engines" in rows["builds for ever"].reason


def test_the_log_says_where(rows, log):
    """It goes to who cannot run it again: a traceback, a native stack, where it hung."""
    sections = {
        text.partition("\n")[0].strip(): text for text in log.read_text().split("=== fake: ")
    }
    assert rows["has a bug"].reason == "KeyError: 'missing'"
    assert 'return {}["missing"]' in sections["has a bug"]
    assert "no such kernel" in sections["dies"]
    assert "in aborts" in sections["dies"]
    assert "in hangs" in sections["hangs"]
    assert "a native library says hello\n" in sections["comes after"]
    assert sections["passes"].strip() == "passes"


def test_settings_and_figures_pass_through(rows):
    assert rows["measures"].figures["seconds"] == 0.25
    assert (rows["passes"].value, rows["passes"].unit) == (1.5, "ms")


def test_a_process_is_kept_until_it_may_be_broken(rows):
    pids = {name: row.figures.get("pid") for name, row in rows.items()}
    assert pids["passes"] == pids["fails"] == pids["measures"]
    after = [pids["measures"], pids["comes after"], pids["comes after a death"], pids["comes last"]]
    assert len(set(after)) == 4


def test_jobs_share_no_process_unasked(log):
    job = fake_checks.job("passes", "passes", shares=False)
    first, second = run([job, job], log)
    assert first.figures["pid"] != second.figures["pid"]


def test_tests_are_rows_and_one_that_breaks_its_process_ends_no_other(tmp_path):
    log = tmp_path / "log.txt"
    rows = {row.name: row for row in run([Job(Row("fake", TESTS), TESTS, 60.0)], log)}
    assert {name: (row.status, row.reason.split(":")[0]) for name, row in rows.items()} == {
        "test_right[fp16-8]": ("pass", ""),
        "test_gradient": ("fail", "AssertionError"),
        "test_after_a_wrong_value": ("pass", ""),
        "test_lacks": ("not run", "no such GPU"),
        "test_is_marked": ("not run", "PyTorch sees no CUDA device"),
        "test_loses_the_gpu": ("fail", "RuntimeError"),
        "test_after_a_lost_gpu": ("pass", ""),
        "test_dies": ("fail", "its process ended"),
        "test_after_a_death[tensorrt]": ("pass", ""),
        "test_after_a_death[torch]": ("pass", ""),
    }
    right = rows["test_right[fp16-8]"]
    assert (right.part, right.dtype, right.batch) == ("fake", "fp16", 8)
    assert (right.value, right.unit) == (0.5, "of what is allowed")
    assert (rows["test_after_a_death[torch]"].subject) == "torch"
    pids = [row.figures["pid"] for row in rows.values() if "pid" in row.figures]
    assert pids[0] == pids[1]  # a wrong value breaks nothing
    assert pids[3] == pids[4]
    assert len(set(pids)) == 3
    assert "assert 3.25 == 3.0" in log.read_text()
    assert "the gradient is off" in rows["test_gradient"].reason


def test_a_subject_has_its_own_tests_run(tmp_path):
    asked = Row("fake", "tests", "torch", "bf16")
    (row,) = run([Job(asked, TESTS, 60.0)], tmp_path / "log.txt")
    assert (row.name, row.subject, row.dtype) == ("test_after_a_death[torch]", "torch", "bf16")


@pytest.mark.parametrize("code", ["import nothing_of_that_name", "", "def test_a(): pass"])
def test_no_test_is_no_success(tmp_path, code):
    path = tmp_path / "test_none.py"
    path.write_text(code)
    (row,) = run([Job(Row("fake", "all"), str(path), 60.0)], tmp_path / "log.txt")
    assert row.status == ("pass" if "def" in code else "fail")
    assert "pytest ran no test" in row.reason or "def" in code


def test_a_killed_parent_leaves_nothing_behind(tmp_path):
    """A hung kernel would hold the GPU until someone looks."""
    code = f"""
from pathlib import Path
from gpu_check.jobs import run_jobs
from gpu_check.subject import Settings
from tests.gpu_check.fake_checks import job
work = {str(tmp_path)!r}
jobs = [job("hangs", "hangs_with_a_child")]
list(run_jobs(jobs, Settings("cpu", "tiny", work), log=Path(work) / "log.txt", end_s=1e9))
"""
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    pids = tmp_path / "pids"
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


def test_what_time_does_not_allow_is_listed(log):
    jobs = [fake_checks.job("hangs", "hangs"), fake_checks.job("comes last", "passes")]
    cut, late = run(jobs, log, seconds=2.0)
    assert (cut.status, late.status) == ("out of time", "out of time")
    assert "stopped when all time was over" in cut.reason
    assert "run 'fake' alone" in late.reason


def test_the_time_begins_before_the_checks(log):
    late = run_jobs(fake_checks.JOBS, SETTINGS, log=log, end_s=12.0, clock=lambda: 13.0)
    assert {row.status for row in late} == {"out of time"}
    assert command.BUDGET_S <= 550


def test_little_time_goes_to_what_is_worth_most():
    parts = list(dict.fromkeys(job.row.part for job in JOBS))
    assert parts[:6] == ["rates", "kernels", "driver", "model", "latency", "scorers"]
    builds = [job for job in JOBS if job.row.name == "build"]
    assert min(job.timeout_s for job in builds) >= 300
    last = {(job.row.subject, job.row.dtype) for job in JOBS if job.row.part == parts[-1]}
    assert {("tensorrt, plugin auto", "fp16"), ("onnxruntime-tensorrt", "fp16")} <= last


def test_each_row_is_told_from_the_others():
    keys = [replace(job.row, reason="").__repr__() for job in JOBS]
    assert len(set(keys)) == len(keys) > 60
