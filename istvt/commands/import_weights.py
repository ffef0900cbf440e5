"""`istvt import-weights`: turn the authors' weights into a run."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from istvt import api
from istvt.commands.output import JsonOption, Output
from istvt.errors import ExitCode


def import_weights(
    checkpoint: Annotated[Path, typer.Argument(help="The authors' .pth file.")],
    out: Annotated[Path, typer.Option(help="Run folder to write.")],
    json: JsonOption = None,
) -> int:
    """Turn a checkpoint of the authors' code into a run."""
    output = Output(json)
    report = api.import_weights(checkpoint, out)
    output.write({"run": str(out), "used": report.used, "ignored": report.ignored})
    output.say(
        f"{len(report.used)} tensors used, {len(report.ignored)} ignored (Xception layers that "
        f"ISTVT does not have)\nwrote {out}; next:\n  istvt export --model {shlex.quote(str(out))}"
    )
    return ExitCode.DONE
