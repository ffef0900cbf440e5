"""Functions stay small enough to be read: what must be named together becomes a record."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import rooms

MOST_ARGUMENTS = 8
FIT_LINES = 60


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def arguments(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Name the arguments but `self` and `cls`; `*args` and `**options` count as one each."""
    own = function.args
    every = [*own.posonlyargs, *own.args, own.vararg, *own.kwonlyargs, own.kwarg]
    return [one.arg for one in every if one is not None and one.arg not in ("self", "cls")]


def test_no_function_has_more_than_eight_arguments() -> None:
    """A command has an argument for each option, so that Typer sees them."""
    found = {
        f"{name}.{function.name}": len(arguments(function))
        for name, path in rooms.modules().items()
        if rooms.room_of(path) != "commands"
        for function in functions(path)
    }
    assert len(found) > 1000
    assert {name: n for name, n in found.items() if n > MOST_ARGUMENTS} == {}


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("def f(a, b, /, c, *rest, d, **more): ...", 6),
        ("async def f(self, a, *, b=1): ...", 2),
    ],
)
def test_each_kind_of_argument_is_counted(line: str, count: int, tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(line)
    (function,) = functions(tmp_path / "module.py")
    assert len(arguments(function)) == count


def test_a_training_is_read_on_one_page() -> None:
    (fit,) = (
        function
        for function in functions(rooms.ROOT / "istvt" / "training" / "fit.py")
        if function.name == "fit"
    )
    assert (fit.end_lineno or 0) - fit.lineno + 1 < FIT_LINES
