"""Pictures, frames and sources from memory for the pipeline: squares on black are faces."""

import numpy as np

from istvt.bundle.manifest import ScorePolicy
from istvt.faces.track import FaceTracker
from istvt.presets import TINY, CropRecipe, ModelConfig, Sampling
from istvt.records import Frame
from istvt.runtime.pipeline import Pipeline
from istvt.runtime.policy import VerdictPolicy
from tests.fakes import FakeDetector

DARK, BRIGHT = 40, 220


def picture(*cells, size=(160, 200)):
    """Black, with squares `(column, row, value)` on the detector's grid."""
    image = np.zeros((*size, 3), dtype=np.uint8)
    for column, row, value in cells:
        image[row * 40 : row * 40 + 40, column * 40 : column * 40 + 40] = value
    return image


def frames_of(images, *, start=0, fps=25.0):
    for index, image in enumerate(images, start=start):
        yield Frame(image=image, index=index, time_s=index / fps, source="made.mp4")


class MadeSource:
    """Frames from memory, which may break at the end."""

    name, is_live, fps, size_wh, frames_dropped = "made.mp4", False, 25.0, (200, 160), 0

    def __init__(self, frames, *, breaks=None):
        self.frames, self.breaks = list(frames), breaks
        self.frames_declared, self.frames_read = len(self.frames), 0

    def __iter__(self):
        for frame in self.frames:
            self.frames_read += 1
            yield frame
        if self.breaks:
            raise self.breaks


def pipeline_of(sampling=Sampling(), **options):
    """A pipeline over the fake detector, for the preset `tiny`."""
    config = ModelConfig(TINY, CropRecipe(TINY.image_size), sampling)
    tracker = FaceTracker(FakeDetector(), detect_every=1)
    return Pipeline(tracker, config, verdicts=VerdictPolicy(), scores=ScorePolicy(), **options)
