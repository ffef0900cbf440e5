"""`istvt import-weights`: foreign weights to a run."""

from pathlib import Path
from typing import Annotated

import typer

from istvt.errors import ExitCode


def import_weights(
    checkpoint: Annotated[Path, typer.Argument(help="The authors' .pth file.")],
    out: Annotated[Path, typer.Option(help="Run folder to write.")],
) -> int:
    """Turn a checkpoint of the authors' code into a run."""
    from istvt.training.initial_weights import import_authors

    report = import_authors(checkpoint, out)
    typer.echo(
        f"{len(report.used)} tensors used, {len(report.ignored)} ignored (Xception layers that "
        f"ISTVT does not have)\nwrote {out}; next:\n  istvt export --model {out}"
    )
    return ExitCode.DONE
