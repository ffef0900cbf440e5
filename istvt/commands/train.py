"""`istvt train`: train a detector on labelled videos."""

import datetime
import shlex
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from istvt import api
from istvt.bundle import locate
from istvt.commands import options
from istvt.commands.options import DATA, MACHINE, MODEL, RECIPE, Of
from istvt.commands.output import JsonOption, Output, note
from istvt.console import stage_bars
from istvt.data.layouts.choose import LayoutOptions
from istvt.errors import ExitCode, UsageError
from istvt.presets import PAPER, CropRecipe, ModelConfig, Sampling, preset_named
from istvt.training.run.recipe import DEMO_RECIPE, MODERN_RECIPE, PAPER_RECIPE, TrainRecipe

if TYPE_CHECKING:
    from istvt.training.fit import EpochResult, FitResult
    from istvt.training.run.checkpoint import Plan
    from istvt.training.stop import TrainingStopped

LEAK_TEST = (
    "labels are shuffled (--shuffle-labels): this tests for leaks, so the validation AUC of the "
    "last epoch must be near 0.5"
)


RecipeName = Literal["auto", "paper", "modern", "demo"]

# Fields of `TrainRecipe`.
FIELDS = {
    "fakes": Of(
        "real: the data's own; self-blended: made from real videos while training, so the data "
        "need no fakes; mixed: both. Default: real."
    ),
    "blended_share": Of("Share of self-blended fakes with --fakes mixed. Default: 0.5."),
    "windows_per_video": Of("Windows of each video per epoch."),
    "shuffle_labels": Of(
        "Leak test: train on shuffled labels. The validation AUC must be near 0.5."
    ),
    "epochs": Of("Passes over the videos.", RECIPE),
    "budget_s": Of("Train for this many seconds, instead of --epochs.", RECIPE),
    "lr": Of("Highest learning rate.", RECIPE),
    "schedule": Of("Schedule of the learning rate after the warm-up.", RECIPE),
    "step_every": Of("--schedule step: epochs until the rate falls to a tenth.", RECIPE),
    "batch_size": Of("Windows per forward pass of each process, an even number.", RECIPE),
    "accumulate": Of("Forward passes per step. Default: 1.", RECIPE),
    "augmentation": Of("Random changes to training windows.", RECIPE),
    "blend": Of(
        "Self-blended fakes: plain (easy to see, to start with) or subtle. Default: subtle.", RECIPE
    ),
    "label_smoothing": Of("Move the targets towards 0.5 by this share.", RECIPE),
    "ema_decay": Of("Validate and keep a moving average of the weights.", RECIPE),
    "monitor": Of("The measure that chooses the best epoch.", RECIPE),
    "patience": Of("Stop after this many epochs without a better one.", RECIPE),
    "seed": Of("Decides weights, order and augmentation. Default: 0.", RECIPE),
    "precision": Of("Precision of the forward pass. Default: auto.", MACHINE),
    "checkpoint_activations": Of("Save memory for about a third more arithmetic.", MACHINE),
    "deterministic": Of("Get the same bits every time on a GPU; slower.", MACHINE),
    "workers": Of("Loader processes of each process. Default: 0.", MACHINE),
    "checkpoint_every_s": Of("Seconds between checkpoints inside an epoch. Default: 600.", MACHINE),
}


@options.with_fields_of(LayoutOptions, options.LAYOUT, into="layout")
@options.with_fields_of(TrainRecipe, FIELDS, into="changes")
def train(
    data: Annotated[
        Path,
        typer.Argument(
            help="A folder from istvt prepare, or videos: FaceForensics++, Celeb-DF, DFDC, "
            "{train,val,test}/{real,fake}/*.mp4, or a CSV of path,label[,split,...]."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Run folder to write. Default: runs/PRESET-DATE.")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue the run in --out with its options; only --epochs, --budget-s, "
            "--patience, --workers and --checkpoint-every-s may change.",
        ),
    ] = False,
    recipe: Annotated[
        RecipeName, typer.Option(help="auto: demo for the preset tiny, paper for the others.")
    ] = "auto",
    preset: Annotated[
        str | None,
        typer.Option(help=f"{options.PRESET_NAMES}. Default: paper.", rich_help_panel=MODEL),
    ] = None,
    frame_step: Annotated[
        int | None, typer.Option(help="Sample every k-th frame.", rich_help_panel=MODEL)
    ] = None,
    sample_fps: Annotated[
        float | None,
        typer.Option(help="Sample at this rate, instead of --frame-step.", rich_help_panel=MODEL),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            help="Initial weights: a run's folder, or imagenet (encoder, from timm).",
            rich_help_panel=MODEL,
        ),
    ] = None,
    max_frames: Annotated[
        int | None,
        typer.Option(
            min=1, help="Sampled frames to read per video. Default: all.", rich_help_panel=DATA
        ),
    ] = None,
    cache: options.CacheOption = None,
    device: options.TorchDeviceOption = None,
    json: JsonOption = None,
    *,
    layout: dict[str, Any],
    changes: dict[str, Any],
) -> int:
    """Train a detector on labelled videos and keep the epoch that validates best.

    On several GPUs or machines: torchrun --nproc-per-node N -m istvt train DATA ...
    """
    from istvt.data.dataset import DataRequest
    from istvt.training.distributed import is_first_process, meet
    from istvt.training.fit import Training
    from istvt.training.run.checkpoint import read_plan
    from istvt.training.stop import TrainingStopped

    if resume and out is None:
        raise UsageError("--resume needs --out: the run to continue")
    before = read_plan(out) if resume and out else None
    config = _config(before, preset=preset, frame_step=frame_step, sample_fps=sample_fps)
    chosen = _recipe(before, recipe, config, changes)
    if "blended_share" in changes and chosen.fakes != "mixed":
        raise UsageError("--blended-share needs --fakes mixed: use both")
    if before and max_frames is None:
        max_frames = before.data.max_frames
    read_as = replace(before.data.layout if before else LayoutOptions(), **layout)
    run, is_first = out or _new_run(config.preset.name), is_first_process()
    output = Output(json if is_first else None)
    if chosen.shuffle_labels and is_first:
        note(LEAK_TEST)
    try:
        with stage_bars() as progress:
            result = api.train(
                DataRequest(data, read_as, cache, max_frames),
                run,
                Training(config, chosen, start=start, resume=resume),
                device=device,
                progress=progress,
                on_epoch=lambda epoch: note(_describe(epoch)),
            )
    except TrainingStopped as stopped:
        if is_first:
            note(_how_to_continue(stopped, data))
        meet()  # torchrun stops the others once one has ended with this code
        return ExitCode.INTERRUPTED
    if is_first:
        _print_result(result, output, is_leak_test=chosen.shuffle_labels)
    meet()
    return ExitCode.DONE


def _config(
    before: "Plan | None", *, preset: str | None, frame_step: int | None, sample_fps: float | None
) -> ModelConfig:
    """Combine the options with the resumed run's configuration, else with the defaults."""
    config = before.config if before else ModelConfig(PAPER, CropRecipe(PAPER.image_size))
    if preset is not None:
        shape = preset_named(preset)
        config = replace(config, preset=shape, crop=replace(config.crop, size_px=shape.image_size))
    if frame_step is None and sample_fps is None:
        return config
    return replace(config, sampling=Sampling(frame_step, sample_fps))


def _recipe(
    before: "Plan | None", name: RecipeName, config: ModelConfig, changes: dict[str, Any]
) -> TrainRecipe:
    """Apply the options to the resumed run's recipe, or to the named one."""
    match name:
        case "auto" if before:
            recipe = before.recipe
        case "auto":
            recipe = DEMO_RECIPE if config.preset.name == "tiny" else PAPER_RECIPE
        case "paper":
            recipe = PAPER_RECIPE
        case "modern":
            recipe = MODERN_RECIPE
        case "demo":
            recipe = DEMO_RECIPE
    if "epochs" in changes or "budget_s" in changes:  # one replaces the other
        changes = {"epochs": None, "budget_s": None, **changes}
    return replace(recipe, **changes)


def _new_run(preset: str) -> Path:
    return locate.RUNS_FOLDER / f"{preset}-{datetime.datetime.now():%Y%m%d-%H%M%S}"


def _describe(epoch: "EpochResult") -> str:
    return (
        f"epoch {epoch.epoch}: loss {epoch.train_loss:.4f}, validation AUC "
        f"{epoch.val_windows.auc:.3f} by window, {epoch.val_videos.auc:.3f} by video, "
        f"{epoch.elapsed_s:.0f} s"
    )


def _how_to_continue(stopped: "TrainingStopped", data: Path) -> str:
    from istvt.training.distributed import count_processes

    command = f"istvt train {shlex.quote(str(data))} --out {shlex.quote(str(stopped.run))} --resume"
    if count_processes() > 1:
        command = f"torchrun (as before) -m {command}"
    return f"{stopped}; nothing is lost, continue with:\n  {command}"


def _to_dict(result: "FitResult") -> dict[str, Any]:
    return {
        "run": str(result.run),
        "best": asdict(result.best),
        "epochs": [asdict(epoch) for epoch in result.epochs],
        "precision": result.precision,
        "skipped": [skipped.to_dict() for skipped in result.skipped],
        "shared_identities": list(result.shared_identities),
    }


def _print_result(result: "FitResult", output: Output, *, is_leak_test: bool) -> None:
    for skipped in result.skipped:
        note(f"skipped {skipped.path}: {skipped.reason}")
    output.write(_to_dict(result))
    if is_leak_test:  # the best of many epochs is above 0.5 by chance alone
        output.say(f"last epoch: {_describe(result.epochs[-1])}\n{LEAK_TEST}")
        return
    output.say(f"best epoch {result.best.epoch}: {_describe(result.best)}")
    output.say(f"wrote {result.run}; next:\n  istvt export --model {shlex.quote(str(result.run))}")
