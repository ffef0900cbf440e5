"""What a stage shows on a terminal, and where there is none."""

import io
import os
import subprocess
import sys

import pytest

from istvt import console
from istvt.console import stage_bars
from istvt.errors import ExitCode


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_without_a_terminal_a_long_stage_tells_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now_s = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now_s[0])
    with stage_bars() as progress:
        for done in range(10):
            progress("faces", done, 9)
            now_s[0] += 25.0
    assert capsys.readouterr().err.splitlines() == [
        "faces (9)",
        "faces (3 of 9)",
        "faces (6 of 9)",
        "faces (9 of 9)",
    ]


@pytest.mark.parametrize("unit", [None, "videos"])
def test_on_a_terminal_the_rate_is_shown_where_the_unit_is_known(
    monkeypatch: pytest.MonkeyPatch, unit: str | None
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with stage_bars(unit=unit) as progress:
        for done in range(5):
            progress("faces", done, 4)
    assert "4/4" in terminal.getvalue()
    assert ("videos/s" in terminal.getvalue()) == (unit is not None)


@pytest.mark.parametrize(
    ("body", "code", "told"),
    [
        ("return 6", ExitCode.INCOMPLETE, ""),
        ("raise UsageError('wrong')", ExitCode.USAGE, "error: wrong"),
        ("raise KeyboardInterrupt", ExitCode.INTERRUPTED, "interrupted"),
        ("raise ValueError('a bug')", ExitCode.BUG, "Traceback"),
    ],
)
@pytest.mark.parametrize("torchrun", [False, True])
def test_a_process_ends_with_its_code_and_under_torchrun_at_once(
    body: str, code: int, told: str, torchrun: bool
) -> None:
    """What Python does at its end is left out under torchrun: there it can abort."""
    script = f"""
import atexit
from istvt.console import run_and_exit
from istvt.errors import UsageError
atexit.register(print, "python ended")
def app(standalone_mode):
    print("result", end="")
    {body}
run_and_exit(app)
"""
    variables = {**os.environ, **({"TORCHELASTIC_RUN_ID": "test"} if torchrun else {})}
    done = subprocess.run(
        [sys.executable, "-c", script], env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert done.stdout.startswith("result")
    assert told in done.stderr
    assert ("python ended" in done.stdout) != torchrun
