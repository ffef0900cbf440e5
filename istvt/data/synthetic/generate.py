"""Turn portraits into a labelled data folder: `{train,val,test}/{real,fake}/*.mp4`.

Real and fake clips come in pairs. A fake is blended from its real partner's frames and encoded the
same, so neither motion nor compression distinguishes the two. No clip seed is used twice. With
three or more portraits, no portrait is in two splits. With fewer, the splits share portraits, and a
good score then means nothing for other people.
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from istvt.data.layouts.manifest import SPLITS
from istvt.data.synthetic.blend import SelfBlend, blend_clip
from istvt.data.synthetic.talking_head import ClipRecipe, Portrait, cut_portrait, make_clip
from istvt.errors import DataError
from istvt.extras import require
from istvt.files import atomic_folder
from istvt.records import Face, FloatArray, Progress, UInt8Array
from istvt.video.images import IMAGE_SUFFIXES, is_image, read_image
from istvt.video.writer import VideoWriter

MASKS_FOLDER = "masks"
MASK_REDUCTION = 4  # a blending mask is smooth
CRF_RANGE = (18, 28)  # both ends included
WORKERS = 2

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SplitSize:
    """The number of real and fake pairs, and the length of each clip."""

    pairs: int
    num_frames: int


@dataclass(frozen=True)
class DatasetSize:
    """The sizes of all splits: many short clips teach more than fewer long ones."""

    train: SplitSize = SplitSize(pairs=48, num_frames=10)
    val: SplitSize = SplitSize(pairs=16, num_frames=10)
    test: SplitSize = SplitSize(pairs=12, num_frames=32)


DEFAULT_SIZE, DEFAULT_CLIP = DatasetSize(), ClipRecipe()

# Plainer than self-blending for training: they must show in small crops, to a model that learns
# from random weights within a minute.
DEFAULT_BLEND = SelfBlend(gain=0.18, offset=20.0, ratios=(0.75, 1.0, 1.0, 1.0), inner_jitter=1.0)


@dataclass(frozen=True)
class _Pair:
    split: str
    number: int
    seed: int
    num_frames: int
    portrait: Portrait


def make_dataset(
    folder: Path,
    portraits: Sequence[Portrait],
    *,
    size: DatasetSize = DEFAULT_SIZE,
    clip: ClipRecipe = DEFAULT_CLIP,
    blend: SelfBlend = DEFAULT_BLEND,
    seed: int = 0,
    progress: Progress | None = None,
) -> Path:
    """Write a data folder, which gets its name only when it is complete.

    Args:
        folder: must not exist yet, or must be empty.
        portraits: from `find_portraits`.
        size: pairs and frames of each split.
        clip: size and liveliness; each split replaces its length.
        blend: how to make fakes; each clip replaces its seed.
        seed: fixes every frame.
        progress: called with ("clips", pairs done, pairs).

    Returns:
        `folder`.

    Raises:
        DataError: the folder is not empty, or there is no portrait.
    """
    if folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder} is not empty: name a new folder for the clips")
    if not portraits:
        raise DataError("there is no portrait to make clips from: give at least one")
    plan = _plan(portraits, size, seed)
    with atomic_folder(folder) as temporary, ThreadPoolExecutor(WORKERS) as pool:
        jobs = [pool.submit(_write_pair, temporary, pair, clip, blend) for pair in plan]
        try:
            for done, job in enumerate(as_completed(jobs), start=1):
                job.result()
                if progress is not None:
                    progress("clips", done, len(jobs))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return folder


def read_masks(fake: Path) -> FloatArray:
    """Read the masks of a fake clip that `make_dataset` wrote.

    Args:
        fake: the clip, `.../{split}/fake/*.mp4`.

    Returns:
        `(num_frames, h, w)` float32: the share of the blended-in face, at a quarter of the size.

    Raises:
        DataError: the clip has no masks.
    """
    path = _masks_of(fake.parents[2], fake.parents[1].name, fake.stem)
    if fake.parent.name != "fake" or not path.is_file():
        raise DataError(f"{fake} has no masks: expected {path}")
    with np.load(path) as stored:
        return np.asarray(stored["masks"] / 255, dtype=np.float32)


def find_portraits(
    folder: Path | None,
    *,
    detect: Callable[[UInt8Array], list[Face]],
    size_px: int = ClipRecipe.size_px,
) -> list[Portrait]:
    """Read portraits; each picture must hold exactly one face.

    Args:
        folder: of pictures; None uses the portrait of an astronaut that comes with scikit-image
            (NASA, public domain).
        detect: a face detector's function.
        size_px: side of the clips' pictures.

    Raises:
        DataError: there are no pictures, or one is unreadable or does not hold exactly one face.
        MissingExtraError: no folder is given and scikit-image is missing.
    """
    if folder is None:
        image = require("skimage.data", extra="train").astronaut()
        return [cut_portrait(image, detect(image), name="astronaut", size_px=size_px)]
    paths = sorted(filter(is_image, _files(folder)))
    if not paths:
        raise DataError(f"{folder} holds no picture: expected {', '.join(sorted(IMAGE_SUFFIXES))}")
    pictures = ((path, read_image(path)) for path in paths)
    return [
        cut_portrait(image, detect(image), name=str(path), size_px=size_px)
        for path, image in pictures
    ]


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder of portraits")
    return [path for path in folder.iterdir() if path.is_file() and path.name[0] != "."]


def _plan(portraits: Sequence[Portrait], size: DatasetSize, seed: int) -> list[_Pair]:
    people = _share_out(portraits)
    plan: list[_Pair] = []
    for split in SPLITS:
        part: SplitSize = getattr(size, split)
        for number in range(part.pairs):
            portrait = people[split][number % len(people[split])]
            clip_seed = seed * 1_000_000 + len(plan)
            plan.append(_Pair(split, number, clip_seed, part.num_frames, portrait))
    return plan


def _share_out(portraits: Sequence[Portrait]) -> dict[str, Sequence[Portrait]]:
    """Keep people apart between splits if there are enough of them."""
    if len(portraits) < len(SPLITS):
        log.warning(
            "%d portrait(s) for %d splits: train, val and test show the same people",
            len(portraits),
            len(SPLITS),
        )
        return dict.fromkeys(SPLITS, portraits)
    held_out = max(1, len(portraits) // 5)
    return {
        "val": portraits[:held_out],
        "test": portraits[held_out : 2 * held_out],
        "train": portraits[2 * held_out :],
    }


def _write_pair(folder: Path, pair: _Pair, clip: ClipRecipe, blend: SelfBlend) -> None:
    clip = replace(clip, num_frames=pair.num_frames)
    frames = list(make_clip(pair.portrait, seed=pair.seed, recipe=clip))
    fakes = list(blend_clip(frames, replace(blend, seed=pair.seed)))
    low, high = CRF_RANGE
    crf = low + pair.seed % (high - low + 1)
    name = f"{pair.number:04d}"
    for kind, made in (("real", frames), ("fake", fakes)):
        path = folder / pair.split / kind / f"{name}.mp4"
        size_wh = (clip.size_px, clip.size_px)
        with VideoWriter(path, fps=clip.fps, size_wh=size_wh, crf=crf) as writer:
            for image, _ in made:
                writer.write(image)
    _write_masks(_masks_of(folder, pair.split, name), [mask for _, mask in fakes])


def _masks_of(folder: Path, split: str, name: str) -> Path:
    return folder / MASKS_FOLDER / split / f"{name}.npz"


def _write_masks(path: Path, masks: Sequence[FloatArray]) -> None:
    height, width = (max(1, side // MASK_REDUCTION) for side in masks[0].shape)
    small = [cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA) for mask in masks]
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, masks=np.rint(np.stack(small) * 255).astype(np.uint8))
