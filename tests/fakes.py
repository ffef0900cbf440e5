"""Stand-ins for the heavy parts: a scorer and a face detector that are plain arithmetic."""

import numpy as np

from istvt.closing import ClosesOnExit
from istvt.presets import Preset
from istvt.records import Face, FloatArray, UInt8Array
from istvt.scorer import (
    ScorerInfo,
    check_faces,
    check_windows,
    no_logits,
)


class FakeScorer(ClosesOnExit):
    """The brighter a window, the more fake: logit = mean pixel / 16 - 8."""

    def __init__(self, preset: Preset) -> None:
        self.info = ScorerInfo("fake", "cpu", "fp32", "0" * 64, preset.spec)
        self.encoded_batches: list[int] = []
        self.scored_batches: list[int] = []

    def encode(self, faces: UInt8Array) -> list[float]:
        check_faces(faces, self.info.spec)
        self.encoded_batches.append(len(faces))
        return [float(face.mean()) for face in faces]

    def score(self, windows) -> FloatArray:
        check_windows(windows, self.info.spec)
        if not windows:
            return no_logits()
        self.scored_batches.append(len(windows))
        return np.array([np.mean(window) / 16 - 8 for window in windows], dtype=np.float32)

    def synchronize(self) -> None: ...

    def close(self) -> None:
        pass


class FakeDetector:
    """Finds pure bright squares: every 40 px cell of the picture's grid that is not black."""

    cell_px = 40

    def detect(self, image: UInt8Array) -> list[Face]:
        cell = self.cell_px
        return [
            face_at((x, y, x + cell, y + cell))
            for y in range(0, image.shape[0] - cell + 1, cell)
            for x in range(0, image.shape[1] - cell + 1, cell)
            if image[y : y + cell, x : x + cell].min() > 0
        ]

    def refine(self, image: UInt8Array, boxes_xyxy: FloatArray) -> list[Face | None]:
        found = {tuple(face.box_xyxy): face for face in self.detect(image)}
        return [found.get(tuple(np.asarray(box, dtype=np.float32))) for box in boxes_xyxy]


def face_at(box: tuple[float, float, float, float]) -> Face:
    """A frontal face that fills the box."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    places = ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8))
    landmarks = [(left + x * width, top + y * height) for x, y in places]
    return Face(
        box_xyxy=np.array(box, dtype=np.float32),
        landmarks=np.array(landmarks, dtype=np.float32),
        confidence=0.99,
    )
