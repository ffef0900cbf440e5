"""Open a raw or prepared data set, and crop the faces of a split on request."""

import hashlib
import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path

from istvt.data.layouts.checks import refuse_copies, require_labels
from istvt.data.layouts.choose import LayoutOptions, read_layout, take_methods
from istvt.data.layouts.ffpp import compressions_of
from istvt.data.layouts.manifest import SPLITS, Manifest
from istvt.data.prepared.face_recipe import FaceRecipe
from istvt.data.prepared.folder import Prepared, is_prepared, open_prepared
from istvt.data.prepared.prepare import prepare
from istvt.data.windows.index import SplitWindows, windows_in
from istvt.errors import DataError, UsageError
from istvt.presets import ModelConfig
from istvt.records import Progress, ignore

CACHE_FOLDER = ".istvt-cache"
DEFAULT_LAYOUT = LayoutOptions()

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataRequest:
    """Names a data set and how it is read.

    Attributes:
        data: a prepared folder, or what `read_layout` reads.
        layout: how a raw data set is read; in a prepared folder it only chooses fake methods.
        cache: where the faces of raw videos are kept; None uses a folder inside the data.
        max_frames: sampled frames read from each video; None reads all.
    """

    data: Path
    layout: LayoutOptions = DEFAULT_LAYOUT
    cache: Path | None = None
    max_frames: int | None = None


@dataclass(frozen=True, eq=False)
class DataSet:
    """A data set whose videos are listed.

    Attributes:
        manifest: all listed videos, with notes; it may contain splits that cannot be read.
        recipe: how faces are cropped.
        num_frames: the number of faces in a window.
        splits: those that can be read.
        with_fakes: whether the data's fakes are read.
        prepared: the opened folder; None for raw videos.
        progress: called with ("faces in SPLIT", videos done, videos).
    """

    request: DataRequest
    manifest: Manifest
    recipe: FaceRecipe
    num_frames: int
    splits: tuple[str, ...]
    with_fakes: bool = True
    prepared: Prepared | None = None
    progress: Progress = ignore

    def split(self, split: str) -> SplitWindows:
        """List the windows of a split.

        Raises:
            DataError: the split, or one of its labels that are read, has no window.
            UsageError: the data set was not opened for this split.
        """
        return windows_in(self.faces(split), split, self.num_frames)

    def faces(self, split: str) -> Prepared:
        """Return the faces of a split; those of raw videos are cropped unless they are cached.

        Raises:
            DataError: the cache cannot be written.
            UsageError: the data set was not opened for this split.
        """
        if split not in self.splits:
            raise UsageError(f"{self.request.data} was opened only for {', '.join(self.splits)}")
        chosen = _of_splits(self.manifest, (split,), with_fakes=self.with_fakes)
        if self.prepared is not None:
            return _part_of(self.prepared, chosen)
        data = self.request.data
        place = self.request.cache or (data if data.is_dir() else data.parent) / CACHE_FOLDER

        def tell(stage: str, done: int, total: int) -> None:
            self.progress(f"{stage} in {split}", done, total)

        folder = place / _cache_name(self.recipe, split)
        return prepare(chosen, folder, self.recipe, is_cache=True, progress=tell)


def open_data(
    request: DataRequest,
    config: ModelConfig,
    *,
    splits: tuple[str, ...],
    with_fakes: bool = True,
    keep_apart: bool = False,
    progress: Progress = ignore,
) -> DataSet:
    """List the videos of a prepared folder or of a raw data set, and refuse what cannot be used.

    Args:
        request: where the data is and how it is read.
        config: the model's; decides T, crop and sampling.
        splits: the needed ones; no other split is ever cropped.
        with_fakes: False skips the data's fakes, for callers who make them from real videos.
        keep_apart: list the other splits of raw videos too, and refuse copies in two splits.
        progress: called with ("faces in SPLIT", videos done, videos) while faces are cropped.

    Raises:
        DataError: the layout is wrong, a split lacks a needed label, a video is in two splits, or
            the folder was prepared for another model.
        UsageError: the folder was prepared from another layout or compression than the requested.
    """
    recipe = FaceRecipe.of_model(config, max_frames=request.max_frames)
    prepared = open_prepared(request.data) if is_prepared(request.data) else None
    if prepared is not None:
        manifest = _chosen(prepared, splits, request.layout)
    else:
        listed = SPLITS if keep_apart else splits
        manifest = read_layout(request.data, request.layout, splits=listed, needed=splits)
    asked = _of_splits(manifest, splits, with_fakes=True)
    require_labels(asked, splits, with_fakes=with_fakes)  # before hours of cropping
    if prepared is not None:
        _check_fit(prepared, recipe, config)
    else:
        for note in manifest.notes:
            log.warning("%s: %s", request.data, note)
        if keep_apart:
            refuse_copies(manifest.videos)
    return DataSet(
        request=request,
        manifest=manifest,
        recipe=recipe if prepared is None else prepared.recipe,
        num_frames=config.preset.num_frames,
        splits=splits,
        with_fakes=with_fakes,
        prepared=prepared,
        progress=progress,
    )


def _cache_name(recipe: FaceRecipe, split: str) -> str:
    """Name the cache folder of one recipe and one split."""
    digest = hashlib.sha256(json.dumps(recipe.to_dict(), sort_keys=True).encode()).hexdigest()
    return f"{split}-{recipe.crop.size_px}px-{digest[:8]}"


def _check_fit(prepared: Prepared, wanted: FaceRecipe, config: ModelConfig) -> None:
    """Refuse faces that do not fit this model; the codec does not matter."""
    have = prepared.recipe
    wanted = replace(
        wanted,
        codec=have.codec,
        quality=have.quality,
        windows_per_video=have.windows_per_video,
        max_frames=wanted.max_frames or have.max_frames,
    )
    if have.windows_per_video is None:  # all faces are kept, whatever T
        wanted = replace(wanted, num_frames=have.num_frames)
    if have != wanted:
        raise DataError(
            f"{prepared.folder} was prepared with {have.differences(wanted)} as the model takes: "
            "prepare the data again, into another folder:\n"
            f"  istvt prepare {prepared.manifest.root} --out FOLDER {_options(config, wanted)}"
        )


def _options(config: ModelConfig, wanted: FaceRecipe) -> str:
    """Return the options of `istvt prepare` for this model."""
    sampling = config.sampling
    options = [f"--preset {config.preset.name}"]
    if sampling.sample_fps is not None:
        options.append(f"--sample-fps {sampling.sample_fps:g}")
    elif sampling.frame_step != 1:
        options.append(f"--frame-step {sampling.frame_step}")
    if wanted.max_frames is not None:
        options.append(f"--max-frames {wanted.max_frames}")
    return " ".join(options)


def _chosen(prepared: Prepared, splits: tuple[str, ...], options: LayoutOptions) -> Manifest:
    _check_reading(prepared, options)
    asked = _of_splits(prepared.manifest, splits, with_fakes=True)
    return take_methods(asked, options.methods)


def _of_splits(manifest: Manifest, splits: tuple[str, ...], *, with_fakes: bool) -> Manifest:
    kept = replace(manifest, videos=tuple(v for v in manifest.videos if v.split in splits))
    return kept if with_fakes else take_methods(kept, ())


def _check_reading(prepared: Prepared, options: LayoutOptions) -> None:
    """Refuse options that select other videos than the prepared ones."""
    manifest = prepared.manifest
    asked: dict[str, tuple[str | None, list[str]]] = {
        "layout": (options.layout if options.layout != "auto" else None, [manifest.layout])
    }
    if manifest.layout == "ffpp":
        asked["compression"] = (options.compression, compressions_of(manifest.videos))
    if manifest.layout == "celebdf" and options.shared_identities == "keep":
        is_kept = any(note.kind == "shared-identity" for note in manifest.notes)
        asked["shared-identities"] = ("keep", ["keep" if is_kept else "drop"])
    for name, (wanted, found) in asked.items():
        if wanted not in (None, *found):
            raise UsageError(
                f"{name} is {wanted!r}, but {prepared.folder} was prepared from {found[0]!r}: "
                f"leave --{name} out, or prepare {manifest.root} with it into another folder"
            )


def _part_of(prepared: Prepared, manifest: Manifest) -> Prepared:
    kept = {video.path for video in manifest.videos}
    entries = tuple(entry for entry in prepared.entries if entry.video.path in kept)
    return replace(prepared, manifest=manifest, entries=entries)
