"""A prepared folder or a data set in, faces that fit the model out."""

import hashlib
import json
import logging
from dataclasses import replace
from pathlib import Path

from istvt.data.layouts.choose import LayoutOptions, read_layout, take_methods
from istvt.data.layouts.ffpp import compressions_of
from istvt.data.layouts.manifest import SPLITS, Manifest
from istvt.data.prepared.face_recipe import FaceRecipe
from istvt.data.prepared.folder import Prepared, is_prepared, open_prepared
from istvt.data.prepared.prepare import prepare
from istvt.data.windows.index import SplitWindows, windows_in
from istvt.errors import DataError, UsageError
from istvt.presets import ModelConfig
from istvt.records import Progress

CACHE_FOLDER = ".istvt-cache"
DEFAULT_LAYOUT = LayoutOptions()

log = logging.getLogger(__name__)


def read_data(
    data: Path, *, splits: tuple[str, ...] | None = None, layout: LayoutOptions | None = None
) -> Manifest:
    """List the videos of a prepared folder or a data set.

    Args:
        data: either.
        splits: which are needed; None takes those that are there.
        layout: see `open_data`.

    Raises:
        DataError: see `open_prepared` and `read_layout`.
        UsageError: see `open_data`.
    """
    options = layout or DEFAULT_LAYOUT
    if not is_prepared(data):
        return read_layout(data, options, splits=splits)
    return _chosen(open_prepared(data), splits or SPLITS, options)


def open_data(
    data: Path,
    config: ModelConfig,
    *,
    splits: tuple[str, ...] = SPLITS,
    with_fakes: bool = True,
    cache: Path | None = None,
    max_frames: int | None = None,
    layout: LayoutOptions | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Open a prepared folder, or prepare a data set in its cache and open that.

    Args:
        data: a prepared folder, or what `read_layout` reads.
        config: the model's; fixes crop and sampling.
        splits: which are needed; the others are not read.
        with_fakes: off, the data's fakes are not read either.
        cache: where the faces of a data set are kept; None takes a folder inside it.
        max_frames: sampled frames read from each video; None reads all.
        layout: how the data set is read; of a prepared folder only its methods are chosen.
        progress: told ("faces", videos done, videos).

    Raises:
        DataError: the layout is wrong, the folder was prepared for another model, or `with_fakes`
            is off and there is no real video.
        UsageError: the folder was prepared from another layout or compression than is asked for.
    """
    options = layout or DEFAULT_LAYOUT
    recipe = FaceRecipe.of_model(config, max_frames=max_frames)
    if is_prepared(data):
        prepared = open_prepared(data)
        _check_fit(prepared, recipe, config)
        chosen = _chosen(prepared, splits, options)
        return _part_of(prepared, chosen if with_fakes else _reals_of(chosen, splits))
    manifest = read_layout(data, options, splits=splits)
    for note in manifest.notes:
        log.warning("%s: %s", data, note)
    if not with_fakes:
        manifest = _reals_of(manifest, splits)
    place = cache or (data if data.is_dir() else data.parent) / CACHE_FOLDER
    folder = place / _cache_name(recipe, splits)
    return prepare(manifest, folder, recipe, is_cache=True, progress=progress)


def load_split(
    data: Path,
    split: str,
    config: ModelConfig,
    *,
    with_fakes: bool = True,
    cache: Path | None = None,
    max_frames: int | None = None,
    layout: LayoutOptions | None = None,
    progress: Progress | None = None,
) -> SplitWindows:
    """Read a split of a prepared folder, or of a data set, which is prepared first.

    Args:
        data: what `istvt prepare` wrote, or a folder or CSV that `read_layout` reads.
        split: one of the three.
        config: fixes T, crop and sampling.
        with_fakes: off, the data's fakes are not read, for they are made of the real videos.
        cache: where the faces of a data set are kept; None takes a folder inside it.
        max_frames: sampled frames read from each video; None reads all.
        layout: how the data set is read; of a prepared folder only its methods are chosen.
        progress: told ("faces in SPLIT", videos done, videos).

    Raises:
        DataError: the layout is wrong, the folder was prepared for another model, or no video of
            the split, or of one of its labels that are read, gives a window.
    """
    prepared = open_data(
        data,
        config,
        splits=(split,),
        with_fakes=with_fakes,
        cache=cache,
        max_frames=max_frames,
        layout=layout,
        progress=progress and (lambda stage, *counts: progress(f"{stage} in {split}", *counts)),
    )
    return windows_in(prepared, split, config.preset.num_frames)


def _cache_name(recipe: FaceRecipe, splits: tuple[str, ...]) -> str:
    """Keep each recipe apart, and each choice of splits, of which the others are never read."""
    digest = hashlib.sha256(json.dumps(recipe.to_dict(), sort_keys=True).encode()).hexdigest()
    return f"{'-'.join(splits)}-{recipe.crop.size_px}px-{digest[:8]}"


def _check_fit(prepared: Prepared, wanted: FaceRecipe, config: ModelConfig) -> None:
    """Refuse faces that are not what this model takes; the codec is nobody's concern."""
    have = prepared.recipe
    wanted = replace(
        wanted,
        codec=have.codec,
        quality=have.quality,
        windows_per_video=have.windows_per_video,
        max_frames=wanted.max_frames or have.max_frames,
    )
    if have.windows_per_video is None:  # all faces are there, whatever T
        wanted = replace(wanted, num_frames=have.num_frames)
    if have != wanted:
        raise DataError(
            f"{prepared.folder} was prepared with {have.differences(wanted)} as the model takes: "
            "prepare the data again, into another folder:\n"
            f"  istvt prepare {prepared.manifest.root} --out FOLDER {_options(config, wanted)}"
        )


def _options(config: ModelConfig, wanted: FaceRecipe) -> str:
    """Give the options of `istvt prepare` for this model."""
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
    manifest = prepared.manifest
    kept = tuple(video for video in manifest.videos if video.split in splits)
    return take_methods(replace(manifest, videos=kept), options.methods)


def _reals_of(manifest: Manifest, splits: tuple[str, ...]) -> Manifest:
    reals = take_methods(manifest, ())
    if not reals.videos:
        raise DataError(
            f"{manifest.root} has no real video in {', '.join(splits)}: self-blended fakes are "
            "made of real ones"
        )
    return reals


def _check_reading(prepared: Prepared, options: LayoutOptions) -> None:
    """Refuse options that would have read other videos than are prepared."""
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
