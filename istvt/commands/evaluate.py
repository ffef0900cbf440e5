"""`istvt evaluate`: measure a run on labelled videos."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from istvt import api
from istvt.commands import options
from istvt.commands.output import JsonOption, Output, write_text
from istvt.console import stage_bars
from istvt.data.layouts.choose import LayoutOptions
from istvt.errors import ExitCode
from istvt.records import FloatPrecision
from istvt.training.run.recipe import BlendName


@options.with_fields_of(LayoutOptions, options.LAYOUT, into="layout")
def evaluate(
    data: Annotated[
        Path,
        typer.Option(
            help="A folder from istvt prepare, or videos in any layout that istvt train reads."
        ),
    ],
    model: options.ModelOption = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    fakes: Annotated[
        Literal["real", "self-blended"],
        typer.Option(help="real: the data's own; self-blended: one made from each real window."),
    ] = "real",
    blend: Annotated[BlendName, typer.Option(help="Preset of self-blended fakes.")] = "subtle",
    windows_per_video: Annotated[
        int | None, typer.Option(min=1, help="Windows spread over each video. Default: all.")
    ] = None,
    json: JsonOption = None,
    scores: Annotated[
        Path | None, typer.Option(help="Write each video's score to this CSV; - is stdout.")
    ] = None,
    resamples: Annotated[
        int, typer.Option(min=0, help="Resamples for the 95 % intervals; 0 omits these.")
    ] = 1000,
    cache: options.CacheOption = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Windows per forward pass.")] = 16,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read windows.")] = 0,
    precision: Annotated[
        FloatPrecision, typer.Option(help="Precision of the forward pass.")
    ] = "fp32",
    device: options.TorchDeviceOption = None,
    *,
    layout: dict[str, Any],
) -> int:
    """Measure a run on a labelled split, by window and video, overall and by fake method."""
    from istvt.data.dataset import DataRequest
    from istvt.evaluation.overlap import format_overlap
    from istvt.evaluation.report import format_data, format_summary, to_csv, to_dict
    from istvt.evaluation.scores import Scoring
    from istvt.training.material import BLENDS

    output = Output(json, scores)
    run = options.find_run(model)
    request = DataRequest(data, LayoutOptions(**layout), cache=cache)
    scoring = Scoring(windows_per_video, fakes, BLENDS[blend], batch_size, precision, workers)
    with stage_bars() as progress:
        report = api.evaluate(
            request,
            run,
            split=split,
            scoring=scoring,
            resamples=resamples,
            device=device,
            progress=progress,
        )
    found = report.found
    output.say(format_data(report.data))
    output.say(format_summary(found, report.summary))
    for line in format_overlap(report.overlap, run, videos=len(report.data.videos)):
        output.say(line)
    for skipped in found.skipped:
        output.say(f"skipped {skipped.path}: {skipped.reason}")
    output.write(to_dict(report))
    if scores is not None:
        write_text(scores, to_csv(found, root=report.data.root))
    return ExitCode.INCOMPLETE if found.skipped else ExitCode.DONE
