"""What goes into a training in, the files of its run folder that say so out."""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from istvt.data.known import VIDEOS_FILE, Listed, describe_changes, read_videos
from istvt.data.windows.index import SplitWindows
from istvt.data.windows.samples import WindowDataset, held_out_samples
from istvt.errors import RuntimeEnvironmentError, UsageError
from istvt.extras import require
from istvt.files import atomic_file
from istvt.lock import LOCK_FILE, locked
from istvt.models.load import CONFIG_FILE, save_sample_windows
from istvt.records import Fakes, UInt8Array
from istvt.training.run.checkpoint import LAST_FILE, Plan, read_plan
from istvt.training.run.environment import describe_environment


@contextmanager
def writing(run: Path, *, room_bytes: int | None = None) -> Iterator[None]:
    """Write files of a run in the block.

    Args:
        run: the folder.
        room_bytes: what all of it takes, where that is known.

    Raises:
        RuntimeEnvironmentError: a file cannot be written.
    """
    try:
        yield
    except Exception as error:
        reason = _reason(error)
        if reason is None:
            raise
        room = f" for up to {room_bytes / 1e6:,.0f} MB" if room_bytes else ""
        then = (
            "nothing kept before is lost, go on with --resume"
            if (run / LAST_FILE).exists()
            else "or name another folder, and start again"
        )
        raise RuntimeEnvironmentError(
            f"{run} cannot be written ({reason}): give it room{room} and permission; {then}"
        ) from error


def _reason(error: Exception) -> str | None:
    """Say why a writer failed; None if it is another error."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, require("safetensors", extra="train").SafetensorError):
        return str(error)
    return None


CURVE_FILE = "curve.png"
TRAINING_FILE = "training.json"
SAMPLE_BLENDS_FILE = "sample_blends.npz"
SAMPLE_WINDOWS, SAMPLE_BLENDS = 16, 8
KILLED_LET_GO_S = 10.0  # workers that read windows outlive a killed training by five
MAY_CHANGE_ON_RESUME = ("epochs", "budget_s", "patience", "workers", "checkpoint_every_s")

log = logging.getLogger(__name__)


@contextmanager
def held(run: Path, *, writes: bool) -> Iterator[None]:
    """Keep other trainings out of the folder; one in which nothing is written goes again.

    Args:
        run: is made where it is missing.
        writes: off, this process does nothing here: another one of its training does.

    Raises:
        UsageError: another training is under way in it.
        RuntimeEnvironmentError: it cannot be written.
    """
    if not writes:
        yield
        return
    is_new = not run.exists()
    with ExitStack() as stack:
        with writing(run):
            stack.enter_context(locked(run, wait_s=KILLED_LET_GO_S))
        try:
            yield
        finally:
            with suppress(OSError):  # removed by somebody else: what ended the block matters
                if is_new and [path.name for path in run.iterdir()] == [LOCK_FILE]:
                    (run / LOCK_FILE).unlink()
                    run.rmdir()


def check_is_free(run: Path) -> None:
    """Keep a run from being overwritten.

    Raises:
        UsageError: the folder holds one.
    """
    if (run / CONFIG_FILE).exists() or (run / LAST_FILE).exists():
        raise UsageError(f"{run} holds a run already: resume it, or name another folder")


def check_is_same(run: Path, plan: Plan) -> None:
    """See that a resumed training goes on as it began, before any data is read.

    Raises:
        UsageError: config, recipe, how the data is read or the number of processes differ; names
            what.
        ModelNotFoundError: there is nothing to resume.
    """
    before = read_plan(run)
    refused = [
        *_changes(before.config, plan.config),
        *(x for x in _changes(before.recipe, plan.recipe) if x not in MAY_CHANGE_ON_RESUME),
        *(x for x in _changes(before.data, plan.data) if x != "folder"),
    ]
    if refused:
        raise UsageError(
            f"{run} was trained with other values of {', '.join(refused)}: resume with the same "
            "ones, or train into another folder"
        )
    if plan.processes != before.processes:
        raise UsageError(
            f"{run} was trained by {before.processes} processes, and is to go on with "
            f"{plan.processes}: a step would have other windows; start as many with torchrun"
        )


def check_is_same_data(run: Path, folder: str, videos: Listed) -> None:
    """See that the videos are those that the training began with; their folder may be another.

    Raises:
        UsageError: videos came, went or changed.
    """
    before, known = read_plan(run).data.folder, read_videos(run)
    if known is None:
        raise UsageError(f"{run / VIDEOS_FILE} is missing: without it, {run} cannot be resumed")
    changes = describe_changes(known, videos)
    if changes is not None:
        raise UsageError(
            f"{run} was trained on {before}; of its videos, and those of {folder} now, {changes}: "
            "resume with the same data, or train into another folder"
        )
    if before != folder:
        log.warning("the videos of %s are read from %s now; they are the same", before, folder)


def write_description(
    run: Path,
    plan: Plan,
    splits: Sequence[SplitWindows],
    more: dict[str, Any],
    *,
    start: str | None,
    resume: bool,
) -> None:
    """Write down what goes into the training, the videos left out among it.

    A resumed training keeps what was written of its first weights, and of the environments (with
    revision and command) that it ran in before.

    Args:
        run: the folder.
        plan: what it was asked to do.
        splits: what there is.
        more: facts that JSON can hold.
        start: where the first weights came from; None were drawn.
        resume: the training goes on.
    """
    before = _described(run) if resume else {}
    content = {
        **plan.to_dict(),
        "start": before.get("start") if resume else start,
        "splits": {windows.split: _counts(windows) for windows in splits},
        **more,
        "environment": describe_environment(Path(plan.data.folder)),
        "earlier_environments": [
            *before.get("earlier_environments", ()),
            *([before["environment"]] if "environment" in before else ()),
        ],
    }
    with atomic_file(run / TRAINING_FILE) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def save_samples(run: Path, val: SplitWindows, fakes: Fakes) -> None:
    """Keep one window of each of some validation videos.

    Of a training that blends its fakes, blends are kept with their masks as well: `faces`
    `(m, T, S, S, 3)` uint8 and `masks` `(m, T, S, S)` float16, the share of the blended-in face in
    each pixel, as ground truth for relevance.
    """
    save_sample_windows(run, sample(val, fakes))
    if fakes == "real":
        return
    windows = WindowDataset(held_out_samples(val, 1, fakes="self-blended")[1::2])  # after each real
    chosen = _evenly(len(windows), SAMPLE_BLENDS)
    faces = np.stack([windows[i][0].numpy() for i in chosen])
    masks = [masks for i in chosen if (masks := windows.load_masks(i)) is not None]
    with atomic_file(run / SAMPLE_BLENDS_FILE) as temporary:
        np.savez_compressed(temporary, faces=faces, masks=np.stack(masks).astype(np.float16))


def sample(val: SplitWindows, fakes: Fakes = "real") -> UInt8Array:
    """Take one window of each of some videos, evenly over the split: `(m, T, S, S, 3)`."""
    windows = WindowDataset(held_out_samples(val, 1, fakes=fakes))
    chosen = _evenly(len(windows), SAMPLE_WINDOWS)
    return np.stack([windows[i][0].numpy() for i in chosen])


def _described(run: Path) -> dict[str, Any]:
    path = run / TRAINING_FILE
    told: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return told


def _evenly(count: int, wanted: int) -> list[int]:
    """Choose positions; both ends are in it, as the split is in order of its classes."""
    chosen: list[int] = np.linspace(0, count - 1, min(count, wanted)).round().astype(int).tolist()
    return chosen


def _counts(windows: SplitWindows) -> dict[str, Any]:
    return {
        "videos": len(windows.videos),
        "windows": sum(len(video) for video in windows.videos),
        "skipped": [{"path": str(s.path), "reason": s.reason} for s in windows.skipped],
    }


def _changes(before: object, now: object) -> list[str]:
    """Name the fields in which two records of one kind differ."""
    return [name for name, value in vars(now).items() if value != vars(before)[name]]
