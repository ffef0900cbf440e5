"""`istvt train`: labelled videos to a run."""

import datetime
import shlex
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from istvt.bundle import locate
from istvt.commands import train_options as options
from istvt.console import stage_bars
from istvt.errors import ExitCode, UsageError
from istvt.presets import PAPER, CropRecipe, ModelConfig, Sampling, preset_named

if TYPE_CHECKING:
    from istvt.training.fit import EpochResult, FitResult
    from istvt.training.run.checkpoint import Plan
    from istvt.training.run.recipe import TrainRecipe
    from istvt.training.stop import TrainingStopped

LEAK_TEST = (
    "labels are shuffled (--shuffle-labels): this is a test for leaks, and the validation AUC of "
    "the last epoch must come out near 0.5"
)


def train(
    data: options.DataArgument,
    out: options.OutOption = None,
    resume: options.ResumeOption = False,
    recipe: options.RecipeOption = options.RecipeName.AUTO,
    preset: options.PresetOption = None,
    frame_step: options.FrameStepOption = None,
    sample_fps: options.SampleFpsOption = None,
    start: options.StartOption = None,
    layout: options.LayoutOption = None,
    compression: options.CompressionOption = None,
    method: options.MethodOption = None,
    shared_identities: options.SharedIdentitiesOption = None,
    fakes: options.FakesOption = None,
    blended_share: options.BlendedShareOption = None,
    windows_per_video: options.WindowsPerVideoOption = None,
    max_frames: options.MaxFramesOption = None,
    cache: options.CacheOption = None,
    shuffle_labels: options.ShuffleLabelsOption = None,
    epochs: options.EpochsOption = None,
    budget_s: options.BudgetSOption = None,
    lr: options.LrOption = None,
    schedule: options.ScheduleOption = None,
    step_every: options.StepEveryOption = None,
    batch_size: options.BatchSizeOption = None,
    accumulate: options.AccumulateOption = None,
    augmentation: options.AugmentationOption = None,
    blend: options.BlendOption = None,
    label_smoothing: options.LabelSmoothingOption = None,
    ema_decay: options.EmaDecayOption = None,
    monitor: options.MonitorOption = None,
    patience: options.PatienceOption = None,
    seed: options.SeedOption = None,
    device: options.DeviceOption = None,
    precision: options.PrecisionOption = None,
    checkpoint_activations: options.CheckpointActivationsOption = None,
    deterministic: options.DeterministicOption = None,
    workers: options.WorkersOption = None,
    checkpoint_every_s: options.CheckpointEverySOption = None,
) -> int:
    """Train ISTVT on labelled videos; the best epoch on the validation split is kept.

    On several GPUs or machines: torchrun --nproc-per-node N -m istvt train DATA ...
    """
    from istvt.data.dataset import DataRequest
    from istvt.training.distributed import is_first_process, meet
    from istvt.training.fit import Training, fit
    from istvt.training.run.checkpoint import read_plan
    from istvt.training.stop import TrainingStopped

    if resume and out is None:
        raise UsageError("--resume needs --out: the run to go on with")
    before = read_plan(out) if resume and out else None
    config = _config(before, preset=preset, frame_step=frame_step, sample_fps=sample_fps)
    chosen = _changed(
        _recipe(before, recipe, config, epochs=epochs, budget_s=budget_s),
        lr=lr,
        schedule=schedule,
        step_every=step_every,
        batch_size=batch_size,
        accumulate=accumulate,
        windows_per_video=windows_per_video,
        fakes=fakes,
        blended_share=blended_share,
        augmentation=augmentation,
        blend=blend,
        label_smoothing=label_smoothing,
        ema_decay=ema_decay,
        precision=precision,
        checkpoint_activations=checkpoint_activations,
        monitor=monitor,
        patience=patience,
        deterministic=deterministic,
        shuffle_labels=shuffle_labels,
        seed=seed,
        workers=workers,
        checkpoint_every_s=checkpoint_every_s,
    )
    if blended_share is not None and chosen.fakes != "mixed":
        raise UsageError("--blended-share says how --fakes mixed mixes: give both")
    if before and max_frames is None:
        max_frames = before.data.max_frames
    read_as = options.layout_options(
        before.data.layout if before else None,
        layout=layout,
        compression=compression,
        method=method,
        shared_identities=shared_identities,
    )
    run, tells = out or _new_run(config.preset.name), is_first_process()
    if chosen.shuffle_labels and tells:
        typer.echo(LEAK_TEST, err=True)
    try:
        with stage_bars() as progress:
            result = fit(
                DataRequest(data, read_as, cache, max_frames),
                run,
                Training(config, chosen, start=start, resume=resume),
                device=device,
                progress=progress,
                on_epoch=lambda epoch: typer.echo(_describe(epoch), err=True),
            )
    except TrainingStopped as stopped:
        if tells:
            typer.echo(_how_to_go_on(stopped, data), err=True)
        meet()  # torchrun stops the others when one has ended with such a code
        return ExitCode.INTERRUPTED
    if tells:
        _print_result(result, is_leak_test=chosen.shuffle_labels)
    meet()
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
    name: options.RecipeName,
    config: ModelConfig,
    *,
    epochs: int | None,
    budget_s: float | None,
) -> "TrainRecipe":
    from istvt.training.run.recipe import DEMO_RECIPE, MODERN_RECIPE, PAPER_RECIPE

    is_tiny = config.preset.name == "tiny"
    recipe = {
        options.RecipeName.AUTO: DEMO_RECIPE if is_tiny else PAPER_RECIPE,
        options.RecipeName.PAPER: PAPER_RECIPE,
        options.RecipeName.MODERN: MODERN_RECIPE,
        options.RecipeName.DEMO: DEMO_RECIPE,
    }[name]
    if before and name is options.RecipeName.AUTO:
        recipe = before.recipe
    if epochs is None and budget_s is None:
        return recipe
    return replace(recipe, epochs=epochs, budget_s=budget_s)


def _changed(recipe: "TrainRecipe", **asked: Any) -> "TrainRecipe":
    """Put in what was given."""
    given = {
        name: option.value if isinstance(option, Enum) else option
        for name, option in asked.items()
        if option is not None
    }
    return replace(recipe, **given)


def _new_run(preset: str) -> Path:
    return locate.RUNS_FOLDER / f"{preset}-{datetime.datetime.now():%Y%m%d-%H%M%S}"


def _describe(epoch: "EpochResult") -> str:
    return (
        f"epoch {epoch.epoch}: loss {epoch.train_loss:.4f}, validation AUC "
        f"{epoch.val_windows.auc:.3f} by window, {epoch.val_videos.auc:.3f} by video, "
        f"{epoch.elapsed_s:.0f} s"
    )


def _how_to_go_on(stopped: "TrainingStopped", data: Path) -> str:
    from istvt.training.distributed import count_processes

    command = f"istvt train {shlex.quote(str(data))} --out {shlex.quote(str(stopped.run))} --resume"
    if count_processes() > 1:
        command = f"torchrun (as before) -m {command}"
    return f"{stopped}; nothing is lost, go on with:\n  {command}"


def _print_result(result: "FitResult", *, is_leak_test: bool) -> None:
    for skipped in result.skipped:
        typer.echo(f"skipped {skipped.path}: {skipped.reason}", err=True)
    if is_leak_test:  # the best of many epochs lies above 0.5 by chance alone
        typer.echo(f"last epoch: {_describe(result.epochs[-1])}\n{LEAK_TEST}")
        return
    typer.echo(f"best epoch {result.best.epoch}: {_describe(result.best)}")
    typer.echo(f"wrote {result.run}; next:\n  istvt export --model {result.run}")
