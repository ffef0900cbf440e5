"""Print for people, and write JSON for programs, the same way in every command."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from istvt.errors import UsageError
from istvt.files import atomic_file

JsonOption = Annotated[
    Path | None,
    typer.Option(help="Write the result as JSON to this file; - is standard output."),
]
PIPE = Path("-")


class Output:
    """One command's output: text for people, and its result as JSON where that is asked for.

    Text moves to standard error while standard output carries JSON.

    Args:
        json: the option's value.
        others: further files that the command will write; checked before the long work.

    Raises:
        UsageError: a file cannot be written.
    """

    def __init__(self, json: Path | None, *others: Path | None) -> None:
        self._json = json
        for path in (json, *others):
            if path not in (None, PIPE):
                check_writable(path)

    @property
    def is_piped(self) -> bool:
        """Whether standard output carries JSON."""
        return self._json == PIPE

    def say(self, text: str) -> None:
        """Print a result for people."""
        typer.echo(text, err=self.is_piped)

    def write(self, result: Any) -> None:
        """Write the command's result where `--json` asked for it."""
        if self._json is not None:
            write_text(self._json, json.dumps(result, indent=2, allow_nan=False) + "\n")

    @contextmanager
    def lines(self) -> Iterator[TextIO | None]:
        """Open the target of `--json` for lines that are written as they come."""
        if self._json is None:
            yield None
        elif self.is_piped:
            yield typer.get_text_stream("stdout")
        else:
            with self._json.open("w", encoding="utf-8") as stream:
                yield stream


def note(text: str) -> None:
    """Print what a person may want to know meanwhile."""
    typer.echo(text, err=True)


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all, and say so; `-` is standard output."""
    if path == PIPE:
        typer.echo(text, nl=False)
        return
    if is_special(path):
        path.write_text(text, encoding="utf-8")
        return
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    note(f"wrote {path}")


def is_special(path: Path) -> bool:
    """Say whether this is a pipe or a device, which is written and never replaced."""
    return path.exists() and not path.is_file() and not path.is_dir()


def check_writable(path: Path) -> None:
    """Refuse an output file before the work whose result it is to hold.

    Raises:
        UsageError: it is a folder, or cannot be written.
    """
    if is_special(path):
        return
    was_there = path.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written ({error.strerror}): name a place you may write to"
        ) from error
    if not was_there:
        path.unlink()
