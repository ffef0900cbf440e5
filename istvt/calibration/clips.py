"""Take windows of faces from a folder of clips, to calibrate the ranges of an INT8 graph.

The clips need no labels, but should resemble what the camera will see.
"""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from istvt.data.layouts.manifest import Label, Manifest, Video
from istvt.data.prepared.face_recipe import FaceRecipe
from istvt.data.prepared.prepare import prepare
from istvt.data.windows.index import windows_of
from istvt.errors import DataError
from istvt.presets import ModelConfig
from istvt.records import Progress, UInt8Array, ignore
from istvt.video.source import VIDEO_SUFFIXES

MAX_WINDOWS = 32
FRAMES_A_CLIP = 60  # sampled; neighbours look alike, so more clips help more than longer ones


@dataclass(frozen=True)
class CalibrationWindows:
    """Windows `(m, T, S, S, 3)` uint8, and a note on their origin for the bundle."""

    faces: UInt8Array
    origin: str


def windows_from_clips(
    folder: Path, config: ModelConfig, *, progress: Progress = ignore
) -> CalibrationWindows:
    """Find, track and crop the faces in a folder's videos, and take windows evenly from all.

    Raises:
        DataError: no such folder, no video in it, or no face visible long enough for a window.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder of calibration clips")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
    if not paths:
        raise DataError(f"{folder} holds no video: expected {', '.join(sorted(VIDEO_SUFFIXES))}")
    videos = [Video(path, Label.REAL, "train") for path in paths]  # the label is never read
    recipe = FaceRecipe.of_model(config, max_frames=FRAMES_A_CLIP)
    with TemporaryDirectory(prefix="istvt-calibration-") as scratch:
        manifest = Manifest(folder, "clips", tuple(videos))
        clips = prepare(manifest, Path(scratch), recipe, progress=progress)
        refs = [ref for faces in clips.videos for ref in windows_of(faces, recipe.num_frames)]
        if not refs:
            reasons = "; ".join(f"{item.path.name}: {item.reason}" for item in clips.skipped[:3])
            raise DataError(
                f"no clip of {folder} shows a face over {recipe.num_frames} sampled frames "
                f"({len(paths)} clips, {len(clips.skipped)} with faults: {reasons})"
            )
        places = np.linspace(0, len(refs) - 1, min(len(refs), MAX_WINDOWS)).round().astype(int)
        faces = np.stack([refs[place].load().images for place in places])
    origin = f"{len(faces)} windows of {len(clips.videos)} clips in {folder.name}"
    return CalibrationWindows(faces, origin)
