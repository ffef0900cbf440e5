"""What every command does with `--json`."""

import json
import os
from pathlib import Path

import pytest

from istvt.commands.output import PIPE, Output
from istvt.errors import UsageError


def test_text_moves_aside_for_json_on_standard_output(capsys):
    output = Output(PIPE)
    output.say("for people")
    output.write({"auc": 0.5})
    told = capsys.readouterr()
    assert json.loads(told.out) == {"auc": 0.5}
    assert told.err == "for people\n"


def test_without_json_text_is_the_output(capsys):
    output = Output(None)
    output.say("for people")
    output.write({"auc": 0.5})
    assert capsys.readouterr().out == "for people\n"


def test_a_file_holds_valid_json_whatever_the_numbers(tmp_path):
    path = tmp_path / "new" / "result.json"
    Output(path).write({"auc": float("nan"), "rows": [(1.0, float("inf"))]})
    assert json.loads(path.read_text()) == {"auc": None, "rows": [[1.0, None]]}


def test_the_check_leaves_nothing_behind(tmp_path):
    Output(tmp_path / "result.json")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="cannot be written"):
        Output(tmp_path)


def test_two_results_do_not_share_standard_output(capsys):
    output = Output(None, PIPE)
    output.say("for people")
    assert capsys.readouterr() == ("", "for people\n")
    with pytest.raises(UsageError, match="write one to a file"):
        Output(PIPE, PIPE)


def test_a_link_stays_and_its_file_is_written(tmp_path):
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    target.write_text("old")
    link.symlink_to(target)
    Output(link).write([1])
    assert link.is_symlink()
    assert json.loads(target.read_text()) == [1]


def test_a_pipe_is_written_and_stays_a_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    Output(Path(pipe)).write([1])
    assert json.loads(os.read(reader, 100)) == [1]
    assert pipe.is_fifo()
    os.close(reader)
