"""Train on labelled videos, and keep weights, state, metrics and a curve in a run folder.

The run folder holds:

- `config.json` and `weights.safetensors`: the best epoch by the recipe's monitor.
- `last.safetensors`: the state to resume from.
- `training.json`: a description of the training.
- `metrics.jsonl`: one line per epoch.
- `videos.jsonl`: the videos of train and val, to recognise them later.
- `scalars.jsonl` and `tensorboard/`: one entry per step.
- `sample_windows.npz`: a few validation windows, for the parity check of exports.
- `sample_blends.npz`: a few self-blended windows with their masks, if the training makes them.
- `curve.png`.

Each file is replaced as a whole, so a killed training leaves its last checkpoint. Nothing is learnt
or chosen on the test split: only the sizes and first bytes of its files are read, to find copies.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from istvt.compute import gpu_errors
from istvt.data.dataset import DataRequest, DataSet, open_data
from istvt.data.known import digest_of, list_videos, write_videos
from istvt.data.layouts.checks import shared_identities
from istvt.data.layouts.manifest import TRAINING_SPLITS, Skipped
from istvt.data.windows.index import SplitWindows
from istvt.errors import UsageError
from istvt.extras import require
from istvt.models.base import VideoModel
from istvt.models.load import build_model
from istvt.presets import ModelConfig
from istvt.records import FloatPrecision, Progress, ignore
from istvt.training.determinism import determinism
from istvt.training.distributed import (
    Processes,
    count_processes,
    find_own_device,
    is_first_process,
    join_processes,
    refuse_other_launchers,
)
from istvt.training.initial_weights import load_start
from istvt.training.precision import Settled, settle_precision
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

__all__ = ["CURVE_FILE", "EpochResult", "FitResult", "Training", "fit"]

# All are checked before anything is written, even those needed late.
PACKAGES = ("safetensors.torch", "lightning_fabric", "tensorboardX", "matplotlib.figure")
TAKES_LESS = (
    "a smaller --batch-size (with --accumulate, a step has as many windows as before), "
    "--checkpoint-activations, or a smaller --preset"
)


@dataclass(frozen=True)
class Training:
    """The model to train, and how.

    Attributes:
        config: the model's shape, crop and sampling.
        recipe: how to train.
        start: source of the initial weights, `imagenet` or a run's folder; None draws them.
        resume: continue from `last.safetensors` in the run folder.
    """

    config: ModelConfig
    recipe: TrainRecipe
    start: str | None = None
    resume: bool = False


@dataclass(frozen=True)
class FitResult:
    """A finished training.

    Attributes:
        run: the folder.
        best: the epoch whose weights are in `weights.safetensors`.
        skipped: videos that gave no windows or were not read to the end, with the reason.
        shared_identities: people in both train and val, as far as the data set or
            FaceForensics++'s file names identify them.
    """

    run: Path
    best: EpochResult
    epochs: tuple[EpochResult, ...]
    precision: FloatPrecision
    skipped: tuple[Skipped, ...]
    shared_identities: tuple[str, ...]


def fit(
    request: DataRequest,
    out: Path,
    training: Training,
    *,
    device: str | None = None,
    progress: Progress = ignore,
    on_epoch: Callable[[EpochResult], None] | None = None,
) -> FitResult:
    """Train a model from its initial weights, or continue a stopped training.

    With torchrun, every process makes the same call; the first one prepares the data, writes the
    files and calls `progress` and `on_epoch`.

    Args:
        request: the data set and how it is read.
        out: the run folder.
        training: what to train.
        device: None uses a GPU if there is one.
        progress: called with ("faces in SPLIT", "listing videos", "epoch N" or "score val", ...).
        on_epoch: called with each finished epoch.

    Raises:
        UsageError: `out` is taken, the resumed training was started differently, the processes do
            not fit the launcher or GPUs, or the loss is no longer a number.
        DataError: a split is wrong or lacks windows of a class, a video is in two splits, or
            torchrun's processes read different windows.
        ModelNotFoundError: there is nothing to resume.
        RuntimeEnvironmentError: a package is missing, the run cannot be written, or the GPU fails.
        TrainingStopped: a signal stopped it, and the state is kept. It is a KeyboardInterrupt.
    """
    _check_call(training)
    recipe, is_first = training.recipe, is_first_process()
    if not is_first:
        progress, on_epoch = ignore, None
    with determinism(wanted=recipe.deterministic), held(out, writes=is_first):
        where = find_own_device(device)
        plan = _check_run(out, request, training)
        data = _open(request, training, progress)
        model, settled = _first_model(out, training, where)
        processes = join_processes(where, settled.precision)
        with processes.first_goes_first():
            train, val = splits = [data.split(split) for split in TRAINING_SPLITS]
        shared = _write_down(out, plan, training, data, splits, processes, settled, progress)
        what = f"training {plan.config.preset.name!r} with {recipe.batch_size} windows a batch"
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
            _run(trainer, out, resume=training.resume, on_epoch=on_epoch, draws=is_first)
    skipped = train.skipped + val.skipped
    return FitResult(out, trainer.best, tuple(trainer.epochs), settled.precision, skipped, shared)


def _check_call(training: Training) -> None:
    """Refuse an impossible call, before anything is read or written."""
    refuse_other_launchers()
    if training.resume and training.start is not None:
        raise UsageError(
            f"resume and start={training.start!r}: a resumed training has its weights already"
        )
    for package in PACKAGES:
        require(package, extra="train")


def _check_run(out: Path, request: DataRequest, training: Training) -> Plan:
    """Return the plan, after checking that it fits the run folder."""
    data = request.data
    facts = DataFacts(str(data.resolve()), request.max_frames, request.layout, codec_of(data))
    plan = Plan(training.config, training.recipe, facts, processes=count_processes())
    if training.resume:
        check_is_same(out, plan)
    else:
        check_is_free(out)
    return plan


def _open(request: DataRequest, training: Training, progress: Progress) -> DataSet:
    return open_data(
        request,
        training.config,
        splits=TRAINING_SPLITS,
        with_fakes=training.recipe.fakes != "self-blended",
        keep_apart=True,
        progress=progress,
    )


def _first_model(out: Path, training: Training, where: torch.device) -> tuple[VideoModel, Settled]:
    """Build the model with its initial weights, and settle the precision to train it in."""
    torch.manual_seed(training.recipe.seed)
    model = build_model(training.config)
    if training.recipe.checkpoint_activations:
        blocks_of(model)  # to refuse a model without blocks early
    if training.start is not None:
        load_start(model, training.start)
    asked = restored_precision(out) if training.resume else training.recipe.precision
    return model, settle_precision(asked, where, model, is_alone=count_processes() == 1)


def _write_down(
    out: Path,
    plan: Plan,
    training: Training,
    data: DataSet,
    splits: Sequence[SplitWindows],
    processes: Processes,
    settled: Settled,
    progress: Progress,
) -> tuple[str, ...]:
    """Check that all processes and a resumed training have the same videos, and describe it.

    Returns:
        The people in both train and val.

    Raises:
        DataError: a process has other videos.
        UsageError: the training was started with other videos.
    """
    videos = list_videos(splits, data.manifest.root)
    processes.refuse_different(digest_of(videos), f"the windows of {data.request.data}")
    if training.resume:
        check_is_same_data(out, plan.data.folder, videos)
    shared = shared_identities([v.video for split in splits for v in split.videos])
    more = {
        "notes": [str(note) for note in data.manifest.notes],
        "shared_identities": list(shared),
        "device": str(processes.device),
        "precision": settled.precision,
    }
    with processes.first_goes_first():  # reading many videos takes minutes
        if processes.is_first:
            with writing(out):
                start, resume = training.start, training.resume
                write_description(out, plan, splits, more, start=start, resume=resume)
                if not resume:
                    write_videos(out, videos, progress=progress)
                    save_samples(out, splits[1], plan.recipe.fakes)
    return shared


def _run(
    trainer: Trainer,
    out: Path,
    *,
    resume: bool,
    on_epoch: Callable[[EpochResult], None] | None,
    draws: bool,
) -> None:
    """Train until the end or a signal, and draw the curve of all finished epochs."""
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
