"""Lock a run folder, describe the training in it, and check what a resumed training reads."""

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
    """Report failures to write the files of a run in the block.

    Args:
        run: the run folder.
        room_bytes: space that all files take, if known.

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
            "nothing saved before is lost, continue with --resume"
            if (run / LAST_FILE).exists()
            else "or name another folder, and start again"
        )
        raise RuntimeEnvironmentError(
            f"{run} cannot be written ({reason}): give it room{room} and permission; {then}"
        ) from error


def _reason(error: Exception) -> str | None:
    """Return why a write failed; None if this is another kind of error."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, require("safetensors", extra="train").SafetensorError):
        return str(error)
    return None


CURVE_FILE = "curve.png"
TRAINING_FILE = "training.json"
SAMPLE_BLENDS_FILE = "sample_blends.npz"
SAMPLE_WINDOWS, SAMPLE_BLENDS = 16, 8
KILLED_LET_GO_S = 10.0  # loader processes outlive a killed training by five seconds
MAY_CHANGE_ON_RESUME = ("epochs", "budget_s", "patience", "workers", "checkpoint_every_s")

log = logging.getLogger(__name__)


@contextmanager
def held(run: Path, *, writes: bool) -> Iterator[None]:
    """Lock the folder against other trainings, and remove it if it is new and nothing was written.

    Args:
        run: the run folder, created if missing.
        writes: whether this process writes; another process of the same training does otherwise.

    Raises:
        UsageError: another training is running in it.
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
            with suppress(OSError):  # already removed: the error that ended the block matters
                if is_new and [path.name for path in run.iterdir()] == [LOCK_FILE]:
                    (run / LOCK_FILE).unlink()
                    run.rmdir()


def check_is_free(run: Path) -> None:
    """Check that the folder holds no run, so that none is overwritten.

    Raises:
        UsageError: the folder holds a run.
    """
    if (run / CONFIG_FILE).exists() or (run / LAST_FILE).exists():
        raise UsageError(f"{run} holds a run already: resume it, or name another folder")


def check_is_same(run: Path, plan: Plan) -> None:
    """Check, before any data is read, that a training resumes with the settings it began with.

    Raises:
        UsageError: config, recipe, reading of the data or number of processes differ. The message
            names the fields.
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
            f"{run} was trained by {before.processes} processes, and would resume with "
            f"{plan.processes}: each step would see other windows; start as many as before with "
            "torchrun"
        )


def check_is_same_data(run: Path, folder: str, videos: Listed) -> None:
    """Check that the videos are those the training began with; their folder may differ.

    Raises:
        UsageError: videos were added, removed or changed.
    """
    before, known = read_plan(run).data.folder, read_videos(run)
    if known is None:
        raise UsageError(f"{run / VIDEOS_FILE} is missing: without it, {run} cannot be resumed")
    changes = describe_changes(known, videos)
    if changes is not None:
        raise UsageError(
            f"{run} was trained on {before}; its videos and those of {folder} differ, {changes}: "
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
    """Write down everything that enters the training, and the videos skipped.

    A resumed training keeps the record of its initial weights and of its earlier environments (with
    revision and command).

    Args:
        run: the run folder.
        plan: the plan of the training.
        splits: the windows of each split.
        more: further facts that JSON can hold.
        start: origin of the initial weights; None if they were drawn at random.
        resume: whether the training resumes.
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
    """Save one window from each of several validation videos.

    If the training blends its fakes, blends are saved too, as ground truth for relevance: `faces`
    `(m, T, S, S, 3)` uint8 and `masks` `(m, T, S, S)` float16. A mask holds the share of the
    blended-in face in each pixel.
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
    """Return one window from each of several videos, spread over the split: `(m, T, S, S, 3)`."""
    windows = WindowDataset(held_out_samples(val, 1, fakes=fakes))
    chosen = _evenly(len(windows), SAMPLE_WINDOWS)
    return np.stack([windows[i][0].numpy() for i in chosen])


def _described(run: Path) -> dict[str, Any]:
    path = run / TRAINING_FILE
    told: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return told


def _evenly(count: int, wanted: int) -> list[int]:
    """Choose evenly spaced positions, including both ends: the split is sorted by class."""
    chosen: list[int] = np.linspace(0, count - 1, min(count, wanted)).round().astype(int).tolist()
    return chosen


def _counts(windows: SplitWindows) -> dict[str, Any]:
    return {
        "videos": len(windows.videos),
        "windows": sum(len(video) for video in windows.videos),
        "skipped": [skipped.to_dict() for skipped in windows.skipped],
    }


def _changes(before: object, now: object) -> list[str]:
    """Return the names of the fields in which two records of one type differ."""
    return [name for name, value in vars(now).items() if value != vars(before)[name]]
