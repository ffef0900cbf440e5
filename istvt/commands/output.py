"""Print text for people and write JSON for programs, alike in every command."""

import json
import math
import os
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
    """One command's output: text for people, and the result as JSON if `--json` is set.

    Text is printed to standard error if standard output carries JSON or another file's content.

    Args:
        json: the option's value.
        others: further files that the command will write; `-` is standard output.

    Attributes:
        is_piped: whether standard output carries a file's content.

    Raises:
        UsageError: a file cannot be written, or two are to go to standard output.
    """

    def __init__(self, json: Path | None, *others: Path | None) -> None:
        self._json = json
        files = [path for path in (json, *others) if path is not None]
        self.is_piped = PIPE in files
        if files.count(PIPE) > 1:
            raise UsageError("two results are to go to standard output: write one to a file")
        for path in files:
            if path != PIPE:
                check_writable(path)

    def say(self, text: str) -> None:
        """Print a result for people."""
        typer.echo(text, err=self.is_piped)

    def write(self, result: Any) -> None:
        """Write the command's result to the file of `--json`, if set."""
        if self._json is not None:
            text = json.dumps(_finite(result), indent=2, allow_nan=False)
            write_text(self._json, text + "\n")

    @contextmanager
    def lines(self) -> Iterator[TextIO | None]:
        """Open the target of `--json` for writing line by line; None if it is not set."""
        if self._json is None:
            yield None
        elif self._json == PIPE:
            yield typer.get_text_stream("stdout")
        else:
            with self._json.open("w", encoding="utf-8") as stream:
                yield stream


def _finite(value: Any) -> Any:
    """Replace numbers that JSON lacks, such as NaN, by None."""
    match value:
        case float() if not math.isfinite(value):
            return None
        case dict():
            return {name: _finite(item) for name, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
    return value


def note(text: str) -> None:
    """Print a message about the work in progress to standard error."""
    typer.echo(text, err=True)


def write_text(path: Path, text: str) -> None:
    """Write a file atomically and print its name; `-` is standard output."""
    if path == PIPE:
        typer.echo(text, nl=False)
        return
    if is_replaceable(path):
        with atomic_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    else:
        path.write_text(text, encoding="utf-8")
    note(f"wrote {path}")


def is_replaceable(path: Path) -> bool:
    """Return whether a new file may take this path's place; no pipe, device or link loses it."""
    is_plain = not path.is_symlink() and (path.is_file() or not path.exists())
    return is_plain and os.access(path.parent, os.W_OK)


def check_writable(path: Path) -> None:
    """Refuse an output file before the long work starts.

    Raises:
        UsageError: it is a folder, or cannot be written.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        return  # a pipe or a device: opening it may wait for a reader
    was_there = path.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written ({error.strerror}): choose a place you may write to"
        ) from error
    if not was_there:
        path.unlink()
