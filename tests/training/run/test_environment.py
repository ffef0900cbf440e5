import json
import os
import platform
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import istvt
from istvt.training.run import environment as module
from istvt.training.run.environment import command_line, describe_environment, find_revision


def git(folder, *arguments):
    environment = {name: text for name, text in os.environ.items() if not name.startswith("GIT_")}
    author = ("-c", "user.name=t", "-c", "user.email=t@t")
    command = ["git", "-C", str(folder), *author, *arguments]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return run.stdout.strip()


@pytest.fixture
def package(tmp_path):
    """A package in a repository of its own, committed."""
    folder = tmp_path / "repository" / "package"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    git(folder.parent, "init", "-q")
    git(folder, "add", "__init__.py")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def test_the_revision_is_gits_own(package):
    head = git(package, "rev-parse", "HEAD")
    assert find_revision(package) == {"revision": head, "is_dirty": False}
    (package.parent / "notes.txt").write_text("outside the package")
    assert find_revision(package) == {"revision": head, "is_dirty": False}


def test_the_repository_of_a_running_hook_is_not_ours(package, monkeypatch):
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert find_revision(package)["revision"] == git(package, "rev-parse", "HEAD")


@pytest.mark.parametrize("name", ["__init__.py", "new.py"])
def test_a_change_is_told(package, name):
    (package / name).write_text("x = 1\n")
    assert find_revision(package)["is_dirty"]


def test_another_projects_checkout_is_not_taken_for_ours(package):
    installed = package.parent / ".venv" / "package"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    assert find_revision(installed) is None


def test_no_repository_no_commit_and_no_git_are_none(package, tmp_path, monkeypatch):
    plain = tmp_path / "plain"
    plain.mkdir()
    assert find_revision(plain) is None
    git(plain, "init", "-q")
    (plain / "__init__.py").write_text("")
    git(plain, "add", "__init__.py")
    assert find_revision(plain) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_revision(package) is None


def test_a_git_that_hangs_is_given_up(package, tmp_path, monkeypatch):
    slow = tmp_path / "git"
    slow.write_text(f"#!{sys.executable}\nimport time; time.sleep(60)\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(module, "GIT_TIMEOUT_S", 0.2)
    assert find_revision(package) is None


def test_the_command_line_names_no_folder_but_the_datas():
    words = ["/home/ada/.venv/bin/istvt", "train", "/disks/ff++", "--out", "/home/ada/runs/one run"]
    words += ["--cache=/home/ada/cache", "--lr", "0.1", "--start=imagenet"]
    expected = "istvt train /disks/ff++ --out 'one run' --cache=cache --lr 0.1 --start=imagenet"
    assert command_line(words, data=Path("/disks/ff++")) == expected
    assert "/" not in command_line(words, data=None)
    assert command_line(["istvt", "some/data"], data=Path("some/data").resolve()).endswith("/data")


def test_it_is_json_and_names_neither_machine_nor_user(monkeypatch):
    for owner, name in ((socket, "gethostname"), (platform, "node")):
        monkeypatch.setattr(owner, name, lambda: "secret-machine")
    monkeypatch.setattr(sys, "argv", ["istvt", "train", "data"])
    found = describe_environment(Path("data"))
    text = json.dumps(found)
    assert found["command"] == "istvt train data"
    assert found["packages"]["torch"] == torch.__version__
    assert found["python"] == sys.version.split()[0]
    assert (found["cuda"] is None) == (not torch.cuda.is_available())
    assert {"cpu", "cores", "system", "gpus", "git"} <= set(found)
    assert "secret-machine" not in text
    assert str(Path(istvt.__file__).parent) not in text
