"""Assemble the command `istvt`; heavy packages load only when a command needs them."""

from typing import Annotated

import typer

from istvt import __version__
from istvt.commands import (
    bench,
    checks,
    demo,
    evaluate,
    export,
    import_weights,
    prepare,
    score,
    stream,
    train,
)
from istvt.console import run_and_exit

app = typer.Typer(
    name="istvt",
    help="Train, export and run ISTVT, an interpretable deepfake detector, at the edge.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(demo.demo)
app.command()(prepare.prepare)
app.command()(train.train)
app.command()(evaluate.evaluate)
app.command("import-weights")(import_weights.import_weights)
app.command()(export.export)
app.command()(score.score)
app.command()(stream.stream)
app.command()(bench.bench)
app.command()(checks.checks)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Train, export and run ISTVT, an interpretable deepfake detector, at the edge."""
    if version:
        typer.echo(f"istvt {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line and exit with its code."""
    run_and_exit(app)
