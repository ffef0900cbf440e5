"""`istvt export`: a run to a bundle."""

from pathlib import Path
from typing import Annotated

import typer

from istvt import locate
from istvt.commands import options
from istvt.console import step_lines
from istvt.errors import ExitCode, UsageError


def export(
    model: options.ModelOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Bundle to write, NAME.istvt. Default: beside the run.")
    ] = None,
    fp16: Annotated[bool, typer.Option("--fp16", help="Graphs in half precision.")] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="Window graph in INT8; its ranges come from --clips.")
    ] = False,
    clips: Annotated[
        Path | None,
        typer.Option(help="Folder of videos for --int8. Default: the run's held-out windows."),
    ] = None,
) -> int:
    """Write a bundle: ONNX graphs, held against PyTorch before they are kept."""
    if fp16 and int8:
        raise UsageError("--fp16 and --int8 exclude each other: give one")
    if clips is not None and not int8:
        raise UsageError("--clips is for the ranges of --int8: give both or neither")
    run = locate.find_run(model)
    target = out or locate.default_bundle(run.folder)
    typer.echo(f"run: {run.folder} ({run.reason})")

    from istvt.export.build import Precision, export_run
    from istvt.export.parity import format_parity

    precision: Precision = "fp16" if fp16 else "int8" if int8 else "fp32"
    exported = export_run(run.folder, target, precision=precision, clips=clips, progress=step_lines)
    typer.echo(format_parity(exported.parity))
    typer.echo(f"\nwrote {target} ({precision}); next:")
    for command in ("score CLIP.mp4", "stream --camera 0", "bench"):
        typer.echo(f"  istvt {command} --model {target}")
    return ExitCode.DONE
