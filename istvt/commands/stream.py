"""`istvt stream`: judge a camera, a stream or a file while it runs."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from istvt import api
from istvt.commands import options
from istvt.commands.output import JsonOption, Output
from istvt.errors import UsageError

if TYPE_CHECKING:
    from istvt.runtime.session import Sink
    from istvt.runtime.stages import StageTimers
    from istvt.video.source import Source


def stream(
    camera: Annotated[int | None, typer.Option(help="Index of a camera, from 0.")] = None,
    source: Annotated[
        str | None, typer.Option(help="A file, a folder of images or a URL (rtsp://...).")
    ] = None,
    model: options.ModelOption = None,
    backend: options.BackendOption = "auto",
    device: options.DeviceOption = "auto",
    threads: options.ThreadsOption = None,
    threshold: options.ThresholdOption = None,
    band: options.BandOption = 0.1,
    min_face_px: options.MinFaceOption = None,
    show: Annotated[bool, typer.Option("--show", help="Open a window; q closes it.")] = False,
    save: Annotated[
        Path | None, typer.Option(help="Write the picture with its overlay to this video.")
    ] = None,
    json: JsonOption = None,
    max_frames: Annotated[
        int | None, typer.Option(min=1, help="Stop after this many frames.")
    ] = None,
    stats: Annotated[bool, typer.Option(help="Print each stage's timings at the end.")] = True,
) -> int:
    """Judge a camera, a stream or a file as it runs; Ctrl-C ends it cleanly.

    With --json, each window and each verdict is written as a line at once.
    """
    from istvt.runtime.sinks.report import exit_code, format_session
    from istvt.runtime.stages import StageTimers, format_stages

    wanted: str | int | None = source if camera is None else camera
    if (camera is None) == (source is None) or wanted is None:
        raise UsageError("use either --camera N or --source X")
    output = Output(json)
    bundle = options.find_bundle(model)
    timers = StageTimers()
    judging = api.Judging(threshold, band, min_face_px)
    with (
        api.open_source(wanted) as opened,
        options.open_model(bundle, backend, device, threads) as detector,
        output.lines() as lines,
    ):
        info = detector.info
        session = detector.session(
            opened, judging=judging, max_frames=max_frames, timers=timers, times_encoder=stats
        )
        footer = f"{Path(opened.name).name}  {info.backend} {info.precision}"
        sinks = _sinks(opened, timers, show=show, save=save, lines=lines, footer=footer)
        report = session.run(sinks)
    output.say(format_session(report))
    if stats:
        output.say(format_stages(timers.summary()))
    if save is not None and save.exists():
        output.say(f"wrote {save}")
    return exit_code([report])


def _sinks(
    source: "Source",
    timers: "StageTimers",
    *,
    show: bool,
    save: Path | None,
    lines: TextIO | None,
    footer: str,
) -> "list[Sink]":
    from istvt.runtime.sinks.json_lines import JsonLines
    from istvt.runtime.sinks.terminal import StatusLine

    sinks: list[Sink] = [StatusLine(sys.stderr)]
    if lines is not None:
        sinks.append(JsonLines(lines))
    if show or save is not None:
        from istvt.runtime.sinks.pictures import Display, Pictures

        display = Display(f"istvt: {source.name}") if show else None
        sinks.append(
            Pictures(display=display, save=save, fps=source.fps, footer=footer, timers=timers)
        )
    return sinks
