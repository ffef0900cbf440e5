"""One process at a time: whoever waits, removes the folder, or leaves children behind."""

import os
import shutil
import threading

import pytest

from istvt.errors import DataError, UsageError
from istvt.lock import LOCK_FILE, locked
from istvt.training.run.folder import held

pytest.importorskip("fcntl", reason="this operating system has no such locks")


def test_a_held_folder_is_refused_and_free_again_after(tmp_path):
    with locked(tmp_path) as is_held:
        assert is_held
        with (
            pytest.raises(UsageError, match="another process is working in"),
            locked(tmp_path, wait_s=0),
        ):
            pass
    with locked(tmp_path, wait_s=0) as is_held:
        assert is_held


def test_a_folder_that_its_holder_removes_is_made_and_held_anew(tmp_path):
    """Who waited holds the lock of a file that nobody else would find."""
    folder, both = tmp_path / "run", []
    entered, leave = threading.Event(), threading.Event()

    def wait_for_it():
        with locked(folder):
            entered.set()
            leave.wait(30)

    second = threading.Thread(target=wait_for_it)
    with locked(folder):
        second.start()
        assert not entered.wait(0.5)
        (folder / LOCK_FILE).unlink()
        folder.rmdir()
    assert entered.wait(30)
    with pytest.raises(UsageError), locked(folder, wait_s=0):
        both.append("two at once")
    leave.set()
    second.join(30)
    assert both == []


def test_a_child_that_lives_on_holds_nothing(tmp_path):
    reader, writer = os.pipe()
    with locked(tmp_path):
        child = os.fork()
        if child == 0:  # has the lock's file open, as workers that read windows have
            os.close(writer)
            os.read(reader, 1)
            os._exit(0)
    try:
        with locked(tmp_path, wait_s=0) as is_held:
            assert is_held
    finally:
        os.close(writer)
        os.waitpid(child, 0)


def test_a_run_folder_that_is_gone_hides_no_error(tmp_path):
    run = tmp_path / "run"

    def lose_it():
        shutil.rmtree(run)
        raise DataError("the real one")

    with pytest.raises(DataError, match="the real one"), held(run, writes=True):
        lose_it()
    with pytest.raises(DataError), held(run, writes=True):
        raise DataError("nothing was written")
    assert not run.exists()
