"""The command `istvt`: puts the commands together; heavy packages load when one runs."""

from typing import Annotated

import typer

from istvt import __version__
from istvt.commands import demo as show
from istvt.commands import evaluate, measure, prepare, train, watch
from istvt.commands import export as build
from istvt.commands import import_weights as learn
from istvt.console import run_and_exit

app = typer.Typer(
    name="istvt",
    help="Train, export and run ISTVT, an interpretable deepfake detector, at the edge.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(show.demo)
app.command()(prepare.prepare)
app.command()(train.train)
app.command()(evaluate.evaluate)
app.command("import-weights")(learn.import_weights)
app.command()(build.export)
app.command()(watch.score)
app.command()(watch.stream)
app.command()(measure.bench)
app.command()(measure.checks)


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
