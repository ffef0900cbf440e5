"""Print text for people and write JSON for programs, alike in every command."""

import json
import math
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

    Text is printed to standard error if standard output carries JSON.

    Args:
        json: the option's value.
        others: further files that the command will write; checked at once.

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
        """Write the command's result to the file of `--json`, if set."""
        if self._json is not None:
            text = json.dumps(_finite(result), indent=2, allow_nan=False)
            write_text(self._json, text + "\n")

    @contextmanager
    def lines(self) -> Iterator[TextIO | None]:
        """Open the target of `--json` for writing line by line; None if it is not set."""
        if self._json is None:
            yield None
        elif self.is_piped:
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
    if is_special(path):
        path.write_text(text, encoding="utf-8")
        return
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    note(f"wrote {path}")


def is_special(path: Path) -> bool:
    """Return whether this is a pipe or a device, which is written but never replaced."""
    return path.exists() and not path.is_file() and not path.is_dir()


def check_writable(path: Path) -> None:
    """Refuse an output file before the long work starts.

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
            f"{path} cannot be written ({error.strerror}): choose a place you may write to"
        ) from error
    if not was_there:
        path.unlink()
