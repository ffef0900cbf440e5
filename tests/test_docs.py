"""The commands and the Python of README and docs are those of the program."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from istvt.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
DATA = ROOT / "tests" / "fixtures" / "aca16a8" / "data"


def commands_of(page):
    """Give the `istvt ...` lines of a page's indented blocks, without comments."""
    lines = re.findall(r"^ {4}(istvt .*)$", page.read_text(), re.MULTILINE)
    return [re.sub(r"\s+#.*$", "", line) for line in lines]


def blocks_of(page, language_sign):
    """Give the indented blocks of a page that begin so, without their indentation."""
    blocks = re.findall(r"(?:^ {4}.*\n|^\n(?= {4}))+", page.read_text(), re.MULTILINE)
    plain = ("\n".join(line[4:] for line in block.strip("\n").split("\n")) for block in blocks)
    return [block for block in plain if block.startswith(language_sign)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_is_shown_exists_with_its_options(page):
    group = typer.main.get_command(app)
    for line in commands_of(page):
        words = [word for word in shlex.split(line.replace("...", "x")) if word != "|"]
        name, *options = words[1:]
        command = group.commands[name]
        command.make_context(name, options, resilient_parsing=False)


def test_pages_link_to_what_is_there():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_python_of_the_readme_runs(tiny_bundle, tmp_path, monkeypatch, capsys):
    (code,) = blocks_of(ROOT / "README.md", "import istvt")
    assert len(code.strip().splitlines()) <= 11
    shutil.copytree(tiny_bundle.folder, tmp_path / "model.istvt")
    shutil.copy(DATA / "test" / "fake" / "0000.mp4", tmp_path / "clip.mp4")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    out = capsys.readouterr().out.splitlines()
    assert out[0].split()[0] in ("fake", "real", "inconclusive")
    assert out[-1].split()[1] == "0"


@pytest.mark.slow
def test_the_quickstart_leads_from_videos_to_verdicts(tmp_path):
    """Run section 4 as it is written, with a shorter training."""
    (block,) = blocks_of(ROOT / "docs" / "quickstart.md", "istvt prepare")
    shutil.copytree(DATA, tmp_path / "data")
    for line in commands_of(ROOT / "docs" / "quickstart.md"):
        if line not in re.sub(r"\s+#.*$", "", block, flags=re.MULTILINE).split("\n"):
            continue
        extra = {"train": ["--budget-s", "4"], "bench": ["--quick"], "export": ["--engine", "none"]}
        words = shlex.split(line)[1:]
        done = subprocess.run(
            [sys.executable, "-m", "istvt", *words, *extra.get(words[0], [])],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    assert (tmp_path / "runs" / "mine.istvt" / "bundle.json").is_file()
