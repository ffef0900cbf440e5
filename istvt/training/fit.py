"""Labelled videos in, a run folder out: best weights, resumable state, metrics and a curve.

The run folder holds `config.json` and `weights.safetensors` (the best epoch by validation AUC over
windows), `last.safetensors` (to resume from), `training.json` (what went in), `metrics.jsonl` (one
line an epoch), `sample_windows.npz` (a few validation windows, for the parity check of exports) and
`curve.png`. Each file is replaced as a whole after an epoch, so a training that is stopped leaves
its last finished epoch. The test split is never read.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from istvt import __version__
from istvt.data.crops import Progress
from istvt.data.layouts.folder import list_videos
from istvt.data.manifest import Skipped
from istvt.data.windows import SplitWindows, load_split, spread
from istvt.errors import UsageError
from istvt.files import atomic_file
from istvt.presets import ModelConfig
from istvt.records import UInt8Array
from istvt.runs import CONFIG_FILE, save_sample_windows
from istvt.training.checkpoint import LAST_FILE, Plan, read_plan
from istvt.training.curve import draw_curve
from istvt.training.precision import find_device
from istvt.training.provenance import DataFacts, describe_data, refuse_copies, shared_identities
from istvt.training.recipe import Precision, TrainRecipe
from istvt.training.start import load_start
from istvt.training.trainer import EpochResult, Trainer, best_of

__all__ = ["EpochResult", "FitResult", "fit"]

CURVE_FILE = "curve.png"
TRAINING_FILE = "training.json"
SAMPLE_WINDOWS = 16
MAY_CHANGE_ON_RESUME = ("epochs", "budget_s", "workers")


@dataclass(frozen=True)
class FitResult:
    """A finished training.

    Attributes:
        run: the folder.
        best: the epoch whose weights are in `weights.safetensors`.
        skipped: videos that gave no windows, or were read in part, with the reason.
        shared_identities: people in both splits, as far as FaceForensics++'s names tell.
    """

    run: Path
    best: EpochResult
    epochs: tuple[EpochResult, ...]
    precision: Precision
    skipped: tuple[Skipped, ...]
    shared_identities: tuple[str, ...]


def fit(
    data: Path,
    out: Path,
    config: ModelConfig,
    recipe: TrainRecipe,
    *,
    resume: bool = False,
    start: str | None = None,
    cache: Path | None = None,
    max_frames: int | None = None,
    device: str | None = None,
    progress: Progress | None = None,
    on_epoch: Callable[[EpochResult], None] | None = None,
) -> FitResult:
    """Train a model from random weights, or go on with a training that was stopped.

    Args:
        data: laid out as `{train,val,test}/{real,fake}/*`; the test split is not read.
        out: the run folder.
        config: the model's shape, crop and sampling.
        recipe: how to train.
        resume: go on from `last.safetensors` in `out`.
        start: `imagenet` or a run's folder to take the first weights from; None draws them.
        cache: the folder of crops; None takes one inside `data`.
        max_frames: sampled frames read from each video; None reads all.
        device: None takes a GPU where there is one.
        progress: told ("faces in SPLIT" | "epoch N" | "score val", done, total).
        on_epoch: told each finished epoch.

    Raises:
        UsageError: `out` holds a run and `resume` is off, the data, recipe or config differ from
            those resumed, `start` is given as well, or the loss is no longer a number.
        DataError: a split is wrong, a class of it is left without a window, or a video is in both.
        ModelNotFoundError: there is nothing to resume.
        RuntimeEnvironmentError: the GPU's memory does not suffice.
    """
    if resume and start is not None:
        raise UsageError(f"resume and start={start!r}: a resumed training has its weights already")
    where = find_device(device)
    videos = list_videos(data, splits=("train", "val"))
    refuse_copies(videos)
    plan = Plan(config, recipe, describe_data(data, videos, max_frames=max_frames))
    _check_out(out, plan, resume=resume)
    shared = shared_identities(videos)
    load = partial(load_split, data, config=config, cache=cache, max_frames=max_frames)
    train, val = load(split="train", progress=progress), load(split="val", progress=progress)
    trainer = Trainer(train, val, config, recipe, device=where, progress=progress)
    if resume:
        trainer.restore(out)
    else:
        if start is not None:
            load_start(trainer.state.model, start)
        trainer.settle_precision(recipe.precision)
        save_sample_windows(out, _sample(val))
    _describe(out, plan, trainer, shared)
    try:
        while not trainer.is_done():
            result = trainer.run_epoch()
            trainer.keep(out, plan.data)
            if on_epoch is not None:
                on_epoch(result)
    finally:
        if trainer.epochs:
            draw_curve(out / CURVE_FILE, trainer.epochs)
    return FitResult(
        run=out,
        best=best_of(trainer.epochs),
        epochs=tuple(trainer.epochs),
        precision=trainer.precision,
        skipped=train.skipped + val.skipped,
        shared_identities=shared,
    )


def _sample(val: SplitWindows) -> UInt8Array:
    """Take one window of each of some videos, evenly over the split: `(m, T, S, S, 3)`."""
    refs = spread(val, 1)
    # Both ends are in it, and the split is in order of its classes.
    positions = np.linspace(0, len(refs) - 1, min(len(refs), SAMPLE_WINDOWS)).round().astype(int)
    return np.stack([refs[i].load().images for i in positions])


def _check_out(out: Path, plan: Plan, *, resume: bool) -> None:
    if not resume:
        if (out / CONFIG_FILE).exists() or (out / LAST_FILE).exists():
            raise UsageError(f"{out} holds a run already: resume it, or name another folder")
        return
    before = read_plan(out)
    refused = [
        *_changes(before.config, plan.config),
        *(x for x in _changes(before.recipe, plan.recipe) if x not in MAY_CHANGE_ON_RESUME),
    ]
    if refused:
        raise UsageError(
            f"{out} was trained with other values of {', '.join(refused)}: resume with the same "
            "ones, or train into another folder"
        )
    if plan.data != before.data:
        raise UsageError(
            f"{out} was trained on {_name(before.data)}, and is to go on with "
            f"{_name(plan.data)}: resume with the same data, or train into another folder"
        )


def _changes(before: object, now: object) -> list[str]:
    """Name the fields in which two records of one kind differ."""
    return [name for name, value in vars(now).items() if value != vars(before)[name]]


def _name(data: DataFacts) -> str:
    limit = f"{data.max_frames} frames" if data.max_frames else "all frames"
    return f"{data.folder} ({limit} a video, list of videos {data.videos_sha256[:8]})"


def _describe(out: Path, plan: Plan, trainer: Trainer, shared: Sequence[str]) -> None:
    """Write down what goes into the training, the videos left out among it."""
    splits = {
        windows.split: {
            "videos": len(windows.videos),
            "windows": sum(len(refs) for refs in windows.videos),
            "skipped": [{"path": str(s.path), "reason": s.reason} for s in windows.skipped],
        }
        for windows in (trainer.train, trainer.val)
    }
    content = {
        "data": asdict(plan.data),
        "splits": splits,
        "shared_identities": list(shared),
        "recipe": asdict(trainer.recipe),
        "device": str(trainer.device),
        "precision": trainer.precision,
        "istvt": __version__,
        "torch": torch.__version__,
    }
    with atomic_file(out / TRAINING_FILE) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")
