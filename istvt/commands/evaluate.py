"""`istvt evaluate`: a run and labelled videos to numbers."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from istvt.bundle import locate
from istvt.commands import options, train_options
from istvt.console import stage_bars
from istvt.errors import ExitCode
from istvt.files import atomic_file

PIPE = Path("-")


class HeldOutFakes(str, Enum):
    """What real videos are held against."""

    REAL = "real"
    SELF_BLENDED = "self-blended"


class NumberFormat(str, Enum):
    """What a trained model can be run in."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


def evaluate(
    data: Annotated[
        Path,
        typer.Option(
            help="A folder that istvt prepare wrote, or videos in any layout that istvt train "
            "takes."
        ),
    ],
    model: options.ModelOption = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    fakes: Annotated[
        HeldOutFakes,
        typer.Option(help="real: those of the data; self-blended: one made of each real window."),
    ] = HeldOutFakes.REAL,
    blend: Annotated[
        train_options.BlendName, typer.Option(help="The preset of self-blended fakes.")
    ] = train_options.BlendName.SUBTLE,
    windows_per_video: Annotated[
        int | None, typer.Option(min=1, help="Evenly spread over each video. Default: all.")
    ] = None,
    json: Annotated[
        Path | None,
        typer.Option(help="Write everything, each video's score too, as JSON; - is stdout."),
    ] = None,
    scores: Annotated[
        Path | None, typer.Option(help="Write each video's score to this CSV file.")
    ] = None,
    resamples: Annotated[
        int, typer.Option(min=0, help="Of the 95 % intervals; 0 leaves them out.")
    ] = 1000,
    layout: train_options.LayoutOption = None,
    compression: train_options.CompressionOption = None,
    method: train_options.MethodOption = None,
    shared_identities: train_options.SharedIdentitiesOption = None,
    cache: train_options.CacheOption = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Windows a forward pass.")] = 16,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read windows.")] = 0,
    precision: Annotated[
        NumberFormat, typer.Option(help="Of the forward pass.")
    ] = NumberFormat.FP32,
    device: train_options.DeviceOption = None,
) -> int:
    """Measure a run on a labelled split, by window and by video, in all and by fake method."""
    from istvt.data.dataset import DataRequest
    from istvt.data.known import read_videos
    from istvt.evaluation import evaluate as evaluating
    from istvt.evaluation.overlap import find_overlap, format_overlap
    from istvt.evaluation.report import format_data, format_summary, to_csv, to_json
    from istvt.evaluation.scores import Scoring
    from istvt.evaluation.summary import summarise
    from istvt.models.load import load_run
    from istvt.training.material import BLENDS

    for file in (json, scores):
        if file is not None and file != PIPE:
            options.check_writable(file)  # before the long part, not after it
    run = locate.find_run(model)
    typer.echo(f"run: {run.folder} ({run.reason})", err=True)
    loaded, config = load_run(run.folder)
    known = read_videos(run.folder)  # a damaged list is told before the long part
    asked = train_options.layout_options(
        layout=layout,
        compression=compression,
        method=method,
        shared_identities=shared_identities,
    )
    with stage_bars() as progress:
        found, measured = evaluating.evaluate(
            DataRequest(data, asked, cache),
            loaded,
            config,
            split=split,
            scoring=Scoring(
                windows_per_video=windows_per_video,
                fakes=fakes.value,
                blend=BLENDS[blend.value],
                batch_size=batch_size,
                precision=precision.value,
                workers=workers,
            ),
            device=device,
            progress=progress,
        )
    summary = summarise(found, resamples=resamples)
    typer.echo(format_data(measured), err=json == PIPE)
    typer.echo(format_summary(found, summary), err=json == PIPE)
    overlap = find_overlap(known, measured.videos, measured.root)
    for line in format_overlap(overlap, run.folder, videos=len(measured.videos)):
        typer.echo(line, err=json == PIPE)
    for skipped in found.skipped:
        typer.echo(f"skipped {skipped.path}: {skipped.reason}", err=json == PIPE)
    if json is not None:
        _write(json, to_json(found, summary, measured, overlap))
    if scores is not None:
        _write(scores, to_csv(found, root=measured.root))
    return ExitCode.INCOMPLETE if found.skipped else ExitCode.DONE


def _write(file: Path, text: str) -> None:
    if file == PIPE:
        typer.echo(text, nl=False)
        return
    with atomic_file(file) as temporary:
        temporary.write_text(text)
