"""`istvt score`: judge recordings."""

from pathlib import Path
from typing import Annotated

import typer

from istvt import api
from istvt.commands import options
from istvt.commands.output import JsonOption, Output, write_text
from istvt.console import stage_bars


def score(
    sources: Annotated[list[Path], typer.Argument(help="Videos, images, or folders of videos.")],
    model: options.ModelOption = None,
    backend: options.BackendOption = "auto",
    device: options.DeviceOption = "auto",
    threads: options.ThreadsOption = None,
    threshold: options.ThresholdOption = None,
    band: options.BandOption = 0.1,
    min_face_px: options.MinFaceOption = None,
    json: JsonOption = None,
    csv: Annotated[
        Path | None, typer.Option(help="Write a line for each file to this CSV; - is stdout.")
    ] = None,
) -> int:
    """Judge recordings: print a verdict on each face's track and on each file."""
    from istvt.runtime.recordings import find_sources
    from istvt.runtime.sinks.report import exit_code, format_reports, to_csv, to_dicts

    bundle = options.find_bundle(model)
    found = find_sources(sources)
    output = Output(json, csv)
    judging = api.Judging(threshold, band, min_face_px)
    with (
        options.open_model(bundle, backend, device, threads) as opened,
        stage_bars() as progress,
    ):
        reports = opened.score_all(found, judging=judging, progress=progress)
    output.say(format_reports(reports))
    output.write(to_dicts(reports))
    if csv is not None:
        write_text(csv, to_csv(reports))
    return exit_code(reports)
