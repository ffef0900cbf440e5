"""`istvt train` and `istvt import-weights`: data or foreign weights to a run."""

import datetime
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from istvt import locate
from istvt.console import stage_bars
from istvt.errors import ExitCode, UsageError
from istvt.presets import PAPER, CropRecipe, ModelConfig, Sampling, preset_named

if TYPE_CHECKING:
    from istvt.training.checkpoint import Plan
    from istvt.training.fit import EpochResult, FitResult
    from istvt.training.recipe import TrainRecipe


class RecipeName(str, Enum):
    """The recipes of `training/recipe.py`."""

    AUTO = "auto"
    PAPER = "paper"
    DEMO = "demo"


def train(
    data: Annotated[Path, typer.Argument(help="Holds {train,val,test}/{real,fake}/*.mp4.")],
    out: Annotated[
        Path | None, typer.Option(help="Run folder to write. Default: runs/PRESET-DATE.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="paper, edge or tiny. Default: paper.")] = None,
    recipe: Annotated[
        RecipeName, typer.Option(help="auto: demo for the preset tiny, paper for the others.")
    ] = RecipeName.AUTO,
    epochs: Annotated[int | None, typer.Option(help="Passes over the videos.")] = None,
    budget_s: Annotated[
        float | None, typer.Option(help="Train for so many seconds, in place of epochs.")
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Highest learning rate.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Windows a step, an even number.")] = None,
    seed: Annotated[
        int | None, typer.Option(help="Fixes weights, order and augmentation. Default: 0.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Loader processes. Default: 0.")] = None,
    frame_step: Annotated[int | None, typer.Option(help="Sample every k-th frame.")] = None,
    sample_fps: Annotated[
        float | None, typer.Option(help="Sample at this rate, in place of --frame-step.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(help="First weights: a run's folder, or imagenet (encoder, through timm)."),
    ] = None,
    max_frames: Annotated[
        int | None, typer.Option(min=1, help="Sampled frames read of each video. Default: all.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder for the cut faces. Default: DATA/.istvt-cache.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, ... Default: a GPU if any.")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with the run in --out, with its options; only --epochs, --budget-s and "
            "--workers may change.",
        ),
    ] = False,
) -> int:
    """Train ISTVT on labelled videos; the best epoch on the validation split is kept."""
    from istvt.training.checkpoint import read_plan
    from istvt.training.fit import fit

    if resume and out is None:
        raise UsageError("--resume needs --out: the run to go on with")
    before = read_plan(out) if resume and out else None
    config = _config(before, preset=preset, frame_step=frame_step, sample_fps=sample_fps)
    chosen = _recipe(before, recipe, config, epochs=epochs, budget_s=budget_s)
    given = {"lr": lr, "batch_size": batch_size, "seed": seed, "workers": workers}
    overrides = {name: value for name, value in given.items() if value is not None}
    chosen = replace(chosen, **overrides)  # type: ignore[arg-type]
    if before and max_frames is None:
        max_frames = before.data.max_frames
    run = out or _new_run(config.preset.name)
    with stage_bars() as progress:
        result = fit(
            data,
            run,
            config,
            chosen,
            resume=resume,
            start=start,
            cache=cache,
            max_frames=max_frames,
            device=device,
            progress=progress,
            on_epoch=lambda epoch: typer.echo(_describe(epoch), err=True),
        )
    _print_result(result)
    return ExitCode.DONE


def import_weights(
    checkpoint: Annotated[Path, typer.Argument(help="The authors' .pth file.")],
    out: Annotated[Path, typer.Option(help="Run folder to write.")],
) -> int:
    """Turn a checkpoint of the authors' code into a run."""
    from istvt.training.import_weights import import_authors

    report = import_authors(checkpoint, out)
    typer.echo(
        f"{len(report.used)} tensors used, {len(report.ignored)} ignored (Xception layers that "
        f"ISTVT does not have)\nwrote {out}; next:\n  istvt export --model {out}"
    )
    return ExitCode.DONE


def _config(
    before: "Plan | None", *, preset: str | None, frame_step: int | None, sample_fps: float | None
) -> ModelConfig:
    """Take what is given, and for the rest what the resumed run has, else the defaults."""
    config = before.config if before else ModelConfig(PAPER, CropRecipe(PAPER.image_size))
    if preset is not None:
        shape = preset_named(preset)
        config = replace(config, preset=shape, crop=replace(config.crop, size_px=shape.image_size))
    if frame_step is None and sample_fps is None:
        return config
    return replace(config, sampling=Sampling(frame_step, sample_fps))


def _recipe(
    before: "Plan | None",
    name: RecipeName,
    config: ModelConfig,
    *,
    epochs: int | None,
    budget_s: float | None,
) -> "TrainRecipe":
    from istvt.training.recipe import DEMO_RECIPE, PAPER_RECIPE

    is_demo = name is RecipeName.DEMO or (name is RecipeName.AUTO and config.preset.name == "tiny")
    recipe = DEMO_RECIPE if is_demo else PAPER_RECIPE
    if before and name is RecipeName.AUTO:
        recipe = before.recipe
    if epochs is None and budget_s is None:
        return recipe
    return replace(recipe, epochs=epochs, budget_s=budget_s)


def _new_run(preset: str) -> Path:
    return locate.RUNS_FOLDER / f"{preset}-{datetime.datetime.now():%Y%m%d-%H%M%S}"


def _describe(epoch: "EpochResult") -> str:
    return (
        f"epoch {epoch.epoch}: loss {epoch.train_loss:.4f}, validation AUC "
        f"{epoch.val_windows.auc:.3f} by window, {epoch.val_videos.auc:.3f} by video, "
        f"{epoch.elapsed_s:.0f} s"
    )


def _print_result(result: "FitResult") -> None:
    for skipped in result.skipped:
        typer.echo(f"skipped {skipped.path}: {skipped.reason}", err=True)
    typer.echo(f"best epoch {result.best.epoch}: {_describe(result.best)}")
    typer.echo(f"wrote {result.run}; next:\n  istvt export --model {result.run}")
