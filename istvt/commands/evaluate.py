"""`istvt evaluate`: a run and labelled videos to numbers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from istvt import locate
from istvt.commands import options
from istvt.console import stage_bars
from istvt.errors import ExitCode

if TYPE_CHECKING:
    from istvt.training.metrics import Metrics


def evaluate(
    data: Annotated[Path, typer.Option(help="Holds {train,val,test}/{real,fake}/*.mp4.")],
    model: options.ModelOption = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    cache: Annotated[
        Path | None, typer.Option(help="Folder for the cut faces. Default: DATA/.istvt-cache.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, ... Default: a GPU if any.")
    ] = None,
) -> int:
    """Measure a run on a labelled split: by window and by video."""
    from istvt.runs import load_run
    from istvt.training.evaluate import evaluate as measure

    run = locate.find_run(model)
    typer.echo(f"run: {run.folder} ({run.reason})", err=True)
    loaded, config = load_run(run.folder)
    with stage_bars() as progress:
        found = measure(
            data, loaded, config, split=split, cache=cache, device=device, progress=progress
        )
    typer.echo(f"{found.split} windows: {_metrics(found.windows)}")
    typer.echo(f"{found.split} videos:  {_metrics(found.videos)}")
    for skipped in found.skipped:
        typer.echo(f"skipped {skipped.path}: {skipped.reason}")
    return ExitCode.INCOMPLETE if found.skipped else ExitCode.DONE


def _metrics(metrics: "Metrics") -> str:
    return (
        f"AUC {metrics.auc:.4f}, AP {metrics.average_precision:.4f}, EER {metrics.eer:.4f}, "
        f"accuracy {metrics.accuracy:.4f} (n = {metrics.count})"
    )
