"""`istvt score` and `istvt stream`: recordings and live pictures judged."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from istvt.commands import options
from istvt.console import stage_bars
from istvt.errors import UsageError

if TYPE_CHECKING:
    from istvt.runtime.pipeline import Pipeline
    from istvt.runtime.session import Sink
    from istvt.video.source import Source


TRACKS_SHOWN = 50  # of a stream; a month of them would fill the memory


class ScoreFormat(str, Enum):
    """How `istvt score` prints."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def score(
    sources: Annotated[list[Path], typer.Argument(help="Videos, images, or folders of videos.")],
    model: options.ModelOption = None,
    backend: options.BackendOption = "auto",
    device: options.DeviceOption = "auto",
    threads: options.ThreadsOption = None,
    threshold: options.ThresholdOption = None,
    band: options.BandOption = 0.1,
    min_face_px: options.MinFaceOption = None,
    format: Annotated[ScoreFormat, typer.Option(help="What is printed.")] = ScoreFormat.TABLE,
    output: Annotated[
        Path | None, typer.Option(help="Write it to this file, not to the terminal.")
    ] = None,
) -> int:
    """Judge recordings: each face a track with a verdict, each file a verdict."""
    from istvt.runtime.hub import Hub
    from istvt.runtime.score import find_sources, score_sources
    from istvt.runtime.session import Session
    from istvt.runtime.sinks.report import exit_code, render

    bundle = options.open_bundle(model)
    found = find_sources(sources)
    if output is not None:
        options.check_writable(output)
    policy = options.verdict_policy(bundle, threshold, band)
    detector = options.open_detector(bundle, min_face_px=min_face_px)
    with options.open_scorer(bundle, backend, device, threads) as scorer, stage_bars() as progress:
        hub = Hub(scorer)

        def make_session(source: "Source") -> Session:
            pipeline = options.make_pipeline(bundle, detector, policy, is_live=False)
            return Session(source, pipeline, hub=hub, policy=policy)

        reports = score_sources(found, make_session, progress=progress)
    text = render(reports, format.value)
    if output is None:
        typer.echo(text)
    else:
        output.write_text(text + "\n", encoding="utf-8")
        typer.echo(f"wrote {output}", err=True)
    return exit_code(reports)


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
    json: Annotated[
        str | None, typer.Option(help="Write JSON lines to this file; - is standard output.")
    ] = None,
    max_frames: Annotated[int | None, typer.Option(min=1, help="Stop after so many.")] = None,
    stats: Annotated[bool, typer.Option(help="Print each stage's timings at the end.")] = True,
) -> int:
    """Judge a camera, a stream or a file while it runs; Ctrl-C ends it cleanly."""
    from istvt.runtime.hub import Hub
    from istvt.runtime.session import Session
    from istvt.runtime.sinks.report import exit_code, format_session
    from istvt.runtime.sinks.terminal import StatusLine
    from istvt.runtime.stages import format_stages

    if (camera is None) == (source is None):
        raise UsageError("give either --camera N or --source X")
    bundle = options.open_bundle(model)
    policy = options.verdict_policy(bundle, threshold, band)
    with (
        _open(camera, source) as opened,
        options.open_scorer(bundle, backend, device, threads) as scorer,
        _open_text(json) as lines,
    ):
        detector = options.open_detector(bundle, min_face_px=min_face_px)
        pipeline = options.make_pipeline(bundle, detector, policy, is_live=opened.is_live)
        hub = Hub(scorer, timers=pipeline.timers, times_encoder=stats)
        footer = f"{Path(opened.name).name}  {scorer.info.backend} {scorer.info.precision}"
        sinks: list[Sink] = [
            StatusLine(sys.stderr),
            *_sinks(pipeline, opened, show=show, save=save, lines=lines, footer=footer),
        ]
        session = Session(
            opened,
            pipeline,
            hub=hub,
            policy=policy,
            keep_tracks=TRACKS_SHOWN,
            max_frames=max_frames,
        )
        report = session.run(sinks)
    is_piped = json == "-"
    typer.echo(format_session(report), err=is_piped)
    if stats:
        typer.echo(format_stages(pipeline.timers.summary()), err=is_piped)
    if save is not None and save.exists():
        typer.echo(f"wrote {save}", err=is_piped)
    return exit_code([report])


def _open(camera: int | None, source: str | None) -> "Source":
    from istvt.video.source import open_source

    if camera is None:
        return open_source(source or "")
    from istvt.video.camera import open_camera

    return open_camera(camera)


@contextmanager
def _open_text(target: str | None) -> Iterator[TextIO | None]:
    if target is None:
        yield None
    elif target == "-":
        yield sys.stdout
    else:
        path = Path(target)
        options.check_writable(path)
        with path.open("w", encoding="utf-8") as stream:
            yield stream


def _sinks(
    pipeline: "Pipeline",
    source: "Source",
    *,
    show: bool,
    save: Path | None,
    lines: TextIO | None,
    footer: str,
) -> "list[Sink]":
    from istvt.runtime.sinks.json_lines import JsonLines

    sinks: list[Sink] = [] if lines is None else [JsonLines(lines)]
    if show or save is not None:
        from istvt.runtime.sinks.pictures import Display, Pictures

        display = Display(f"istvt: {source.name}") if show else None
        sinks.append(
            Pictures(
                display=display, save=save, fps=source.fps, footer=footer, timers=pipeline.timers
            )
        )
    return sinks
