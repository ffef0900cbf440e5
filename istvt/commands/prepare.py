"""`istvt prepare`: crop the faces of a data set."""

import shlex
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from istvt import api
from istvt.commands import options
from istvt.commands.output import JsonOption, Output, note
from istvt.console import stage_bars
from istvt.data.layouts.choose import LayoutOptions
from istvt.errors import ExitCode, UsageError
from istvt.presets import CropRecipe, Sampling, preset_named

if TYPE_CHECKING:
    from istvt.data.layouts.manifest import Video
    from istvt.data.prepared.face_recipe import FaceRecipe
    from istvt.data.prepared.folder import Prepared
    from istvt.data.prepared.summary import Part

SHOWN = 5  # faults printed; the file lists all


@options.with_fields_of(LayoutOptions, options.LAYOUT, into="layout")
def prepare(
    data: Annotated[
        Path,
        typer.Argument(
            help="Videos: FaceForensics++, Celeb-DF, DFDC, {train,val,test}/{real,fake}/*.mp4, or "
            "a CSV of path,label[,split,identity,method,source]."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write, or to resume.")],
    preset: Annotated[
        str, typer.Option(help=f"Model to train: {options.PRESET_NAMES}; decides the crops' size.")
    ] = "paper",
    frame_step: Annotated[
        int | None, typer.Option(min=1, help="Sample every k-th frame. Default: 1.")
    ] = None,
    sample_fps: Annotated[
        float | None, typer.Option(help="Sample at this rate, instead of --frame-step.")
    ] = None,
    max_frames: Annotated[
        int | None, typer.Option(min=1, help="Sampled frames to read per video. Default: all.")
    ] = None,
    windows_per_video: Annotated[
        int | None,
        typer.Option(
            min=1, help="Keep only the faces of this many windows, evenly spread. Default: all."
        ),
    ] = None,
    jpeg: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=100,
            help="Store faces as JPEG of this quality (such as 95), not lossless PNG.",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that read videos. Default: all cores.")
    ] = None,
    json: JsonOption = None,
    *,
    layout: dict[str, Any],
) -> int:
    """Detect, track and crop all faces. An interrupted run resumes."""
    from istvt.data.prepared.face_recipe import FaceRecipe

    if frame_step is not None and sample_fps is not None:
        raise UsageError("--frame-step and --sample-fps exclude each other: use one")
    shape = preset_named(preset)
    recipe = FaceRecipe(
        crop=CropRecipe(shape.image_size),
        sampling=Sampling(frame_step or 1) if sample_fps is None else Sampling(None, sample_fps),
        num_frames=shape.num_frames,
        max_frames=max_frames,
        windows_per_video=windows_per_video,
        codec="png" if jpeg is None else "jpeg",
        quality=jpeg or FaceRecipe.quality,
    )
    output = Output(json)
    manifest = api.list_videos(data, LayoutOptions(**layout))
    for one in manifest.notes:
        note(f"note: {one}")
    if lacking := _untrainable(manifest.videos):
        note(f"note: {lacking}")
    note(f"{data}, read as {manifest.layout}: {len(manifest.videos)} videos")
    started = time.monotonic()
    try:
        with stage_bars(unit="videos") as progress:
            prepared = api.prepare(manifest, out, recipe, workers=workers, progress=progress)
    except KeyboardInterrupt:
        note(f"stopped: {out} keeps the finished videos; the same command resumes")
        raise
    _report(prepared, preset, output, seconds=time.monotonic() - started)
    return ExitCode.INCOMPLETE if prepared.skipped else ExitCode.DONE


def _report(prepared: "Prepared", preset: str, output: Output, *, seconds: float) -> None:
    from istvt.data.prepared.folder import BROKEN_FILE
    from istvt.data.prepared.summary import format_parts, summarise

    parts = summarise(prepared)
    output.write(_to_dict(prepared, parts))
    output.say(format_parts(parts))
    if prepared.skipped:
        output.say(
            f"\n{len(prepared.skipped)} of {len(prepared.entries)} videos give no window, or were "
            f"not read to the end; all are in {prepared.folder / BROKEN_FILE}:"
        )
        for fault in prepared.skipped[:SHOWN]:
            output.say(f"  {fault.path}: {fault.reason}")
        if len(prepared.skipped) > SHOWN:
            output.say(f"  and {len(prepared.skipped) - SHOWN} more")
    if prepared.removed:
        what = "shards of changed videos or older versions"
        output.say(f"\nremoved {prepared.removed} {what}")
    size = sum(faces.num_bytes for faces in prepared.videos) / 1e6
    output.say(f"\n{prepared.folder}: {size:,.1f} MB of faces, in {seconds:.0f} s; next:")
    output.say(_next(prepared, preset))


def _to_dict(prepared: "Prepared", parts: "Sequence[Part]") -> dict[str, Any]:
    return {
        "folder": str(prepared.folder),
        "parts": [{**asdict(part), "label": part.label.name.lower()} for part in parts],
        "skipped": [skipped.to_dict() for skipped in prepared.skipped],
        "removed": prepared.removed,
        "digest": prepared.digest,
    }


def _next(prepared: "Prepared", preset: str) -> str:
    """Return the next command for the videos that give windows, or what they lack."""
    from istvt.data.layouts.checks import lacking_labels
    from istvt.data.layouts.manifest import TRAINING_SPLITS
    from istvt.data.prepared.shards import window_starts

    num_frames = prepared.recipe.num_frames
    videos = [v.video for v in prepared.videos if len(window_starts(v.runs, num_frames))]
    if lacking := _untrainable(videos):
        return f"  more videos: {lacking}"
    fakes = " --fakes self-blended" if lacking_labels(videos, TRAINING_SPLITS) else ""
    folder, sampling = shlex.quote(str(prepared.folder)), _sampling(prepared.recipe)
    return f"  istvt train {folder} --preset {preset}{sampling}{fakes}"


def _untrainable(videos: "Sequence[Video]") -> str | None:
    """Return why training is impossible, if so; it can make fakes, but not real videos."""
    from istvt.data.layouts.checks import lacking_labels
    from istvt.data.layouts.manifest import TRAINING_SPLITS

    lacking = lacking_labels(videos, TRAINING_SPLITS, with_fakes=False)
    if not lacking:
        return None
    return (
        f"istvt train needs real videos in train and val, but there are none in "
        f"{', '.join(lacking)}"
    )


def _sampling(recipe: "FaceRecipe") -> str:
    sampling = recipe.sampling
    if sampling.sample_fps is not None:
        return f" --sample-fps {sampling.sample_fps:g}"
    return "" if sampling.frame_step == 1 else f" --frame-step {sampling.frame_step}"
