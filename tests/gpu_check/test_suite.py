"""The row of the GPU tests names those that failed."""

import pytest

from gpu_check import suite
from gpu_check.result import CannotRunError, Settings

SETTINGS = Settings(device="cuda", preset_name="paper", work="")


def run(monkeypatch, tmp_path, code):
    path = tmp_path / "test_two.py"
    path.write_text(code)
    monkeypatch.setattr(suite, "TESTS", path)
    return suite.run_tests(SETTINGS)


def test_failed_tests_are_named(monkeypatch, tmp_path, capfd):
    outcome = run(
        monkeypatch,
        tmp_path,
        "def test_a(): pass\ndef test_gradient(): assert 3.25 == 3.0, 'the gradient is off'\n",
    )
    assert outcome.status == "fail"
    last, failed = outcome.note.splitlines()
    assert last.startswith("1 failed, 1 passed")
    assert failed.startswith("FAILED")
    assert "test_gradient - AssertionError: the gradient is off" in failed
    assert "assert 3.25 == 3.0" in capfd.readouterr().err  # all of it goes to the check's log


def test_all_skipped_is_no_success(monkeypatch, tmp_path):
    code = "import pytest\npytestmark = pytest.mark.skip\ndef test_a(): pass\n"
    assert run(monkeypatch, tmp_path, code).status == "fail"
    assert run(monkeypatch, tmp_path, "def test_a(): pass\n").status == "pass"


def test_a_rehearsal_runs_none():
    with pytest.raises(CannotRunError):
        suite.run_tests(Settings(device="cpu", preset_name="tiny", work=""))
