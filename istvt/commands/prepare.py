"""`istvt prepare`: the faces of a data set, cut once."""

import time
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from istvt.commands.train_options import SharedName
from istvt.console import stage_bars
from istvt.errors import ExitCode, UsageError
from istvt.presets import CropRecipe, Sampling, preset_named

if TYPE_CHECKING:
    from istvt.data.layouts.manifest import Video
    from istvt.data.prepared.face_recipe import FaceRecipe
    from istvt.data.prepared.folder import Prepared

SHOWN = 5  # faults told on the terminal; the file has all


class LayoutName(str, Enum):
    """The layouts of `data/layouts`."""

    AUTO = "auto"
    FFPP = "ffpp"
    CELEBDF = "celebdf"
    DFDC = "dfdc"
    FOLDER = "folder"
    CSV = "csv"


class Compression(str, Enum):
    """Those of FaceForensics++."""

    RAW = "raw"
    C23 = "c23"
    C40 = "c40"


def prepare(
    data: Annotated[
        Path,
        typer.Argument(
            help="Videos: FaceForensics++, Celeb-DF, DFDC, {train,val,test}/{real,fake}/*.mp4, or "
            "a CSV of path,label[,split,identity,method,source]."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write, or to go on with.")],
    layout: Annotated[
        LayoutName, typer.Option(help="auto tells it by the folders.")
    ] = LayoutName.AUTO,
    compression: Annotated[Compression, typer.Option(help="Of FaceForensics++.")] = Compression.C23,
    method: Annotated[
        list[str] | None, typer.Option(help="Take only fakes made so; may be repeated.")
    ] = None,
    shared_identities: Annotated[
        SharedName,
        typer.Option(
            help="Celeb-DF: drop keeps people apart; keep takes the official test list, with "
            "people of the training."
        ),
    ] = SharedName.DROP,
    preset: Annotated[
        str, typer.Option(help="The model to train: paper, edge or tiny; fixes the crops' size.")
    ] = "paper",
    frame_step: Annotated[
        int | None, typer.Option(min=1, help="Sample every k-th frame. Default: 1.")
    ] = None,
    sample_fps: Annotated[
        float | None, typer.Option(help="Sample at this rate, in place of --frame-step.")
    ] = None,
    max_frames: Annotated[
        int | None, typer.Option(min=1, help="Sampled frames read of each video. Default: all.")
    ] = None,
    windows_per_video: Annotated[
        int | None,
        typer.Option(
            min=1, help="Keep only the faces of so many windows, evenly spread. Default: all."
        ),
    ] = None,
    jpeg: Annotated[
        int | None,
        typer.Option(
            min=1, max=100, help="Keep faces as JPEG of this quality (95), not as exact PNG."
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that read videos. Default: all cores.")
    ] = None,
) -> int:
    """Find, track and cut the faces of all videos, once; stopped, it goes on where it was."""
    from istvt.data.layouts.checks import refuse_copies
    from istvt.data.layouts.choose import LayoutOptions, read_layout
    from istvt.data.prepared.face_recipe import FaceRecipe
    from istvt.data.prepared.prepare import prepare as prepare_all

    if frame_step is not None and sample_fps is not None:
        raise UsageError("--frame-step and --sample-fps exclude each other: give one")
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
    options = LayoutOptions(
        layout=layout.value,
        compression=compression.value,
        methods=tuple(method) if method else None,
        shared_identities=shared_identities.value,
    )
    manifest = read_layout(data, options)
    for note in manifest.notes:
        typer.echo(f"note: {note}", err=True)
    if lacking := _untrainable(manifest.videos):
        typer.echo(f"note: {lacking}", err=True)
    refuse_copies(manifest.videos)
    typer.echo(f"{data}, read as {manifest.layout}: {len(manifest.videos)} videos", err=True)
    started = time.monotonic()
    try:
        with stage_bars(unit="videos") as progress:
            prepared = prepare_all(manifest, out, recipe, workers=workers, progress=progress)
    except KeyboardInterrupt:
        typer.echo(f"stopped: {out} keeps what is done; the same command goes on", err=True)
        raise
    return _report(prepared, preset, seconds=time.monotonic() - started)


def _report(prepared: "Prepared", preset: str, *, seconds: float) -> int:
    from istvt.data.prepared.folder import BROKEN_FILE
    from istvt.data.prepared.summary import format_parts, summarise

    typer.echo(format_parts(summarise(prepared)))
    if prepared.skipped:
        typer.echo(
            f"\n{len(prepared.skipped)} of {len(prepared.entries)} videos give no window, or were "
            f"read in part; all are in {prepared.folder / BROKEN_FILE}:"
        )
        for fault in prepared.skipped[:SHOWN]:
            typer.echo(f"  {fault.path}: {fault.reason}")
        if len(prepared.skipped) > SHOWN:
            typer.echo(f"  and {len(prepared.skipped) - SHOWN} more")
    if prepared.removed:
        what = "former shards, of changed videos or older versions"
        typer.echo(f"\nremoved {prepared.removed} {what}")
    size = sum(faces.num_bytes for faces in prepared.videos) / 1e6
    typer.echo(f"\n{prepared.folder}: {size:,.1f} MB of faces, in {seconds:.0f} s; next:")
    typer.echo(_next(prepared, preset))
    return ExitCode.INCOMPLETE if prepared.skipped else ExitCode.DONE


def _next(prepared: "Prepared", preset: str) -> str:
    """Say what can be done with those videos that give windows."""
    from istvt.data.layouts.checks import lacking_labels
    from istvt.data.layouts.manifest import TRAINING_SPLITS
    from istvt.data.prepared.shards import window_starts

    num_frames = prepared.recipe.num_frames
    videos = [v.video for v in prepared.videos if len(window_starts(v.runs, num_frames))]
    if lacking := _untrainable(videos):
        return f"  more videos: {lacking}"
    fakes = " --fakes self-blended" if lacking_labels(videos, TRAINING_SPLITS) else ""
    return f"  istvt train {prepared.folder} --preset {preset}{_sampling(prepared.recipe)}{fakes}"


def _untrainable(videos: "Sequence[Video]") -> str | None:
    """Say why no training can be done, if so; fakes can be made, real videos cannot."""
    from istvt.data.layouts.checks import lacking_labels
    from istvt.data.layouts.manifest import TRAINING_SPLITS

    lacking = lacking_labels(videos, TRAINING_SPLITS, with_fakes=False)
    if not lacking:
        return None
    return (
        f"istvt train needs real videos in train and val, and there is none in {', '.join(lacking)}"
    )


def _sampling(recipe: "FaceRecipe") -> str:
    sampling = recipe.sampling
    if sampling.sample_fps is not None:
        return f" --sample-fps {sampling.sample_fps:g}"
    return "" if sampling.frame_step == 1 else f" --frame-step {sampling.frame_step}"
