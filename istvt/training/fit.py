"""Labelled videos in, a run folder out: best weights, resumable state, metrics and a curve.

The run folder holds `config.json` and `weights.safetensors` (the best epoch by the recipe's
monitor), `last.safetensors` (to resume from), `training.json` (what went in), `metrics.jsonl` (one
line an epoch), `videos.jsonl` (what there was to learn and choose from, to know it again),
`scalars.jsonl` and `tensorboard/` (one entry a step), `sample_windows.npz` (a few
validation windows, for the parity check of exports), `sample_blends.npz` (a few self-blended ones
with their masks, where the training makes such) and `curve.png`. Each file is replaced as a whole,
so a training that is killed leaves its last checkpoint. Nothing is learnt or chosen on the test
split: of its files only size and first bytes are compared with the others', to find copies.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from istvt.compute import gpu_errors
from istvt.data.dataset import load_split, read_data
from istvt.data.known import digest_of, list_videos, write_videos
from istvt.data.layouts.checks import refuse_copies, require_labels, shared_identities
from istvt.data.layouts.choose import DEFAULT as ANY_LAYOUT
from istvt.data.layouts.choose import LayoutOptions
from istvt.data.layouts.manifest import TRAINING_SPLITS, Skipped
from istvt.data.prepared.folder import is_prepared
from istvt.errors import UsageError
from istvt.extras import require
from istvt.models.base import VideoModel
from istvt.models.load import build_model
from istvt.presets import ModelConfig
from istvt.records import FloatPrecision, Progress
from istvt.training.determinism import determinism
from istvt.training.distributed import (
    count_processes,
    find_own_device,
    is_first_process,
    join_processes,
    refuse_other_launchers,
)
from istvt.training.initial_weights import load_start
from istvt.training.precision import settle_precision
from istvt.training.run.checkpoint import DataFacts, Plan, codec_of
from istvt.training.run.curve import draw_curve
from istvt.training.run.epochs import EpochResult
from istvt.training.run.folder import (
    CURVE_FILE,
    check_is_free,
    check_is_same,
    check_is_same_data,
    held,
    save_samples,
    write_description,
    writing,
)
from istvt.training.run.keeper import restored_precision
from istvt.training.run.recipe import TrainRecipe
from istvt.training.run.tracking import read_scalars
from istvt.training.step import blocks_of
from istvt.training.stop import stop_requests
from istvt.training.trainer import Trainer

__all__ = ["CURVE_FILE", "EpochResult", "FitResult", "fit"]

# Those that are needed late are asked for before anything is written, too.
PACKAGES = ("safetensors.torch", "lightning_fabric", "tensorboardX", "matplotlib.figure")
TAKES_LESS = (
    "a smaller --batch-size (with --accumulate, a step has as many windows as before), "
    "--checkpoint-activations, or a smaller --preset"
)


@dataclass(frozen=True)
class FitResult:
    """A finished training.

    Attributes:
        run: the folder.
        best: the epoch whose weights are in `weights.safetensors`.
        skipped: videos that gave no windows, or were read in part, with the reason.
        shared_identities: people in train and val alike, as far as the data set, or the names of
            FaceForensics++'s files, tell.
    """

    run: Path
    best: EpochResult
    epochs: tuple[EpochResult, ...]
    precision: FloatPrecision
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
    layout: LayoutOptions = ANY_LAYOUT,
    device: str | None = None,
    progress: Progress | None = None,
    on_epoch: Callable[[EpochResult], None] | None = None,
) -> FitResult:
    """Train a model from random weights, or go on with a training that was stopped.

    Where torchrun started several processes, each calls this alike; the first one prepares the
    data, writes the files and calls `progress` and `on_epoch`.

    Args:
        data: a prepared folder, or what `read_layout` reads.
        out: the run folder.
        config: the model's shape, crop and sampling.
        recipe: how to train.
        resume: go on from `last.safetensors` in `out`.
        start: `imagenet` or a run's folder to take the first weights from; None draws them.
        cache: where the faces of raw videos are kept; None takes a folder inside `data`.
        max_frames: sampled frames read from each video; None reads all.
        layout: how `data` is read.
        device: None takes a GPU where there is one.
        progress: told ("faces in SPLIT" | "listing videos" | "epoch N" | "score val", done, total).
        on_epoch: told each finished epoch.

    Raises:
        UsageError: `out` holds a run and `resume` is off, another training is under way in it, the
            data, recipe, config or number of processes differ from those resumed, `start` is given
            as well, another launcher than torchrun started several processes, or more than there
            are GPUs, or the loss is no longer a number.
        DataError: a split is wrong, a class of it is left without a window, a video is in two of
            the three, or torchrun's processes read different windows.
        ModelNotFoundError: there is nothing to resume.
        RuntimeEnvironmentError: a package is missing, the run cannot be written, or the GPU fails
            or its memory does not suffice.
        TrainingStopped: a signal asked for it, and the state is kept; a KeyboardInterrupt.
    """
    refuse_other_launchers()
    if resume and start is not None:
        raise UsageError(f"resume and start={start!r}: a resumed training has its weights already")
    for package in PACKAGES:
        require(package, extra="train")
    if not is_first_process():
        progress = on_epoch = None
    with determinism(wanted=recipe.deterministic), held(out, writes=is_first_process()):
        where = find_own_device(device)
        facts = DataFacts(str(data.resolve()), max_frames, layout, codec_of(data))
        plan = Plan(config, recipe, facts, processes=count_processes())
        if resume:
            check_is_same(out, plan)
        else:
            check_is_free(out)
        manifest = read_data(data, splits=TRAINING_SPLITS, layout=layout)
        with_fakes = recipe.fakes != "self-blended"
        require_labels(manifest, TRAINING_SPLITS, with_fakes=with_fakes)
        if not is_prepared(data):
            refuse_copies(read_data(data, layout=layout).videos)  # those of the test split too
        model = _first_model(plan, start)
        asked = restored_precision(out) if resume else recipe.precision
        settled = settle_precision(asked, where, model, is_alone=plan.processes == 1)
        processes = join_processes(where, settled.precision)
        load = partial(
            load_split,
            data,
            config=config,
            with_fakes=with_fakes,
            cache=cache,
            max_frames=max_frames,
            layout=layout,
            progress=progress,
        )
        with processes.first_goes_first():
            train, val = (load(split=split) for split in TRAINING_SPLITS)
        videos = list_videos((train, val), manifest.root)
        processes.refuse_different(digest_of(videos), f"the windows of {data}")
        if resume:
            check_is_same_data(out, facts.folder, videos)
        shared = shared_identities([v.video for v in (*train.videos, *val.videos)])
        more = {
            "notes": [str(note) for note in manifest.notes],
            "shared_identities": list(shared),
            "device": str(processes.device),
            "precision": settled.precision,
        }
        with processes.first_goes_first():  # of many videos the content takes minutes
            if processes.is_first:
                with writing(out):
                    write_description(out, plan, (train, val), more, start=start, resume=resume)
                    if not resume:
                        write_videos(out, videos, progress=progress)
                        save_samples(out, val, recipe.fakes)
        what = f"training {config.preset.name!r} with {recipe.batch_size} windows a batch"
        with gpu_errors(what, less=TAKES_LESS):
            trainer = Trainer(
                out,
                plan,
                model,
                train=train,
                val=val,
                processes=processes,
                settled=settled,
                progress=progress,
            )
            _run(trainer, out, resume=resume, on_epoch=on_epoch, draws=processes.is_first)
    return FitResult(
        run=out,
        best=trainer.best,
        epochs=tuple(trainer.epochs),
        precision=settled.precision,
        skipped=train.skipped + val.skipped,
        shared_identities=shared,
    )


def _first_model(plan: Plan, start: str | None) -> VideoModel:
    torch.manual_seed(plan.recipe.seed)
    model = build_model(plan.config)
    if plan.recipe.checkpoint_activations:
        blocks_of(model)  # refuses before anything is read
    if start is not None:
        load_start(model, start)
    return model


def _run(
    trainer: Trainer,
    out: Path,
    *,
    resume: bool,
    on_epoch: Callable[[EpochResult], None] | None,
    draws: bool,
) -> None:
    """Train to the end, or to where a signal stops it, and draw what there is by then."""
    try:
        with stop_requests() as stop, trainer.running(stop, resume=resume):
            while not trainer.is_done():
                result = trainer.run_epoch()
                if on_epoch is not None:
                    on_epoch(result)
    finally:
        if trainer.epochs and draws:
            scalars = read_scalars(out)
            with writing(out):
                draw_curve(out / CURVE_FILE, trainer.epochs, best=trainer.best, scalars=scalars)
