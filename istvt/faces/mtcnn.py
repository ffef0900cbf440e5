"""Find faces with MTCNN in ONNX Runtime on the CPU, without torch.

Source: Zhang et al., "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional
Networks" (2016). Boxes and landmarks agree with those of facenet-pytorch 2.5.3.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import ceil
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from istvt.compute import count_cores
from istvt.errors import BundleError, UsageError
from istvt.extras import require
from istvt.faces import boxes as bx
from istvt.faces.area import AreaTable, IntArray
from istvt.faces.mtcnn_weights import FILE_NAMES, detector_folder, is_detector
from istvt.records import Face, FloatArray, UInt8Array

CELL_PX, STRIDE_PX = 12, 2  # field of view and spacing of the cells of P-Net's map
REJECTION_PX, OUTPUT_PX = 24, 48  # sides of the crops that R-Net and O-Net take
REFINE_SCALE = 0.9  # of 0.9 to 1.3: O-Net was most confident and its boxes the most stable
MAX_BATCH = 256  # bounds the memory for a crowded image
LEAST_BATCH = 4  # fewer are not worth another thread

Item = TypeVar("Item")
Result = TypeVar("Result")


class MtcnnDetector:
    """Finds faces in an image.

    Args:
        folder: folder of the three networks; None uses this user's, built on first use.
        min_face_px: the smallest face to find. The time of a search grows with the square of the
            image's side over this. facenet-pytorch uses 20; a model's `CropRecipe` holds its own.
        thresholds: least probability after each of the three networks.
        refine_threshold: least probability at which `refine` still follows a face.
        factor: size of each level of the image pyramid relative to the previous one.
        threads: number of threads for a search; None uses one per core.

    Raises:
        MissingExtraError: ONNX Runtime is not installed, or a package to build the networks with.
        BundleError: the folder holds no detector, or a broken one.
        UsageError: an argument is out of range.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        min_face_px: int = 20,
        thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7),
        refine_threshold: float = 0.6,
        factor: float = 0.709,
        threads: int | None = None,
    ) -> None:
        _check_arguments(min_face_px, (*thresholds, refine_threshold), factor)
        self.min_face_px = min_face_px
        self.thresholds = thresholds
        self.refine_threshold = refine_threshold
        self.factor = factor
        folder = detector_folder() if folder is None else folder
        if not is_detector(folder):
            raise BundleError(f"{folder} is no face detector: it must hold {', '.join(FILE_NAMES)}")
        self._pnet, self._rnet, self._onet = (_open_session(folder / name) for name in FILE_NAMES)
        self._threads = count_cores() if threads is None else threads
        self._pool = ThreadPoolExecutor(self._threads) if self._threads > 1 else None

    def detect(self, image: UInt8Array) -> list[Face]:
        """Search the whole image.

        Args:
            image: `(H, W, 3)` RGB.

        Returns:
            Faces, largest first; none if the image is smaller than `min_face_px`.

        Raises:
            UsageError: the image has the wrong shape or type.
        """
        _check_image(image)
        if min(image.shape[:2]) < self.min_face_px:
            return []
        areas = AreaTable(image)
        candidates = self._reject(areas, self._propose(areas))
        scores, boxes_xyxy, landmarks = self._locate(areas, candidates)
        passed = np.flatnonzero(scores > self.thresholds[2])
        kept = passed[bx.suppress_by_smaller(boxes_xyxy[passed], scores[passed], limit=0.7)]
        faces = [Face(boxes_xyxy[i], landmarks[i], float(scores[i])) for i in kept]
        return sorted(faces, key=lambda face: face.area_px, reverse=True)

    def refine(self, image: UInt8Array, boxes_xyxy: FloatArray) -> list[Face | None]:
        """Search only where faces were, using just the last network.

        Args:
            image: `(H, W, 3)` RGB.
            boxes_xyxy: `(n, 4)` px.

        Returns:
            One entry per box; None if the face is gone.

        Raises:
            UsageError: the image or the boxes have the wrong shape or type.
        """
        _check_image(image)
        boxes_xyxy = np.asarray(boxes_xyxy, np.float32)
        if boxes_xyxy.ndim != 2 or boxes_xyxy.shape[1] != 4 or not np.isfinite(boxes_xyxy).all():
            raise UsageError(f"boxes {boxes_xyxy.shape} must be (n, 4), and finite")
        expected = bx.squared(boxes_xyxy, scale=REFINE_SCALE)
        region = _region_around(expected, image)
        if region is None:
            return [None] * len(boxes_xyxy)
        left, top, right, bottom = region
        corner = np.array([left, top], np.float32)
        areas = AreaTable(image[top:bottom, left:right])
        scores, boxes, landmarks = self._locate(areas, expected - np.tile(corner, 2))
        return [
            Face(boxes[i] + np.tile(corner, 2), landmarks[i] + corner, float(scores[i]))
            if scores[i] > self.refine_threshold
            else None
            for i in range(len(boxes_xyxy))
        ]

    def _propose(self, areas: AreaTable) -> FloatArray:
        """Run P-Net at every level of the pyramid and return squared boxes `(n, 4)`."""
        levels = self._map(lambda scale: self._propose_at(areas, scale), self._scales(areas))
        boxes, scores, offsets = (np.concatenate(parts) for parts in zip(*levels, strict=True))
        kept = bx.suppress_by_union(boxes, scores, limit=0.7)
        return bx.squared(bx.regressed(boxes[kept], offsets[kept]))

    def _scales(self, areas: AreaTable) -> list[float]:
        """Return the scale of each pyramid level relative to the image."""
        scales: list[float] = []
        scale = CELL_PX / self.min_face_px
        shorter_px = min(areas.height, areas.width) * scale
        while not scales or shorter_px >= CELL_PX:  # 47 px x 12 / 47 px is a little below 12
            scales.append(scale)
            scale *= self.factor
            shorter_px *= self.factor
        return scales

    def _propose_at(
        self, areas: AreaTable, scale: float
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Run P-Net at one level: boxes `(n, 4)`, probabilities `(n,)`, offsets `(n, 4)`."""
        level = areas.resized(int(areas.height * scale + 1), int(areas.width * scale + 1))
        probability, offsets = self._pnet.run(None, {"pixels": level})
        rows, columns = np.nonzero(probability[0, 0] >= self.thresholds[0])
        cells = np.stack([columns, rows], 1).astype(np.float32) * STRIDE_PX
        boxes = np.floor(np.hstack([cells + 1, cells + CELL_PX]) / np.float32(scale))
        scores = probability[0, 0, rows, columns]
        kept = bx.suppress_by_union(boxes, scores, limit=0.5)
        return boxes[kept], scores[kept], offsets[0][:, rows[kept], columns[kept]].T

    def _map(self, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Process each item, on several threads if there are several items."""
        if self._pool is None or len(items) < 2:
            return [work(item) for item in items]
        return list(self._pool.map(work, items))

    def _run(
        self, session: Any, areas: AreaTable, boxes_px: IntArray, size: int
    ) -> list[FloatArray]:
        """Cut out the boxes and run a network on them; every output has one row per box."""
        parts = min(max(len(boxes_px) // LEAST_BATCH, 1), self._threads)
        parts = max(parts, ceil(len(boxes_px) / MAX_BATCH))
        outputs = self._map(
            lambda boxes: session.run(None, {"pixels": areas.cut(boxes, size)}),
            np.array_split(boxes_px, parts),
        )
        return [np.concatenate(output) for output in zip(*outputs, strict=True)]

    def _reject(self, areas: AreaTable, boxes: FloatArray) -> FloatArray:
        """Run R-Net on the candidates and return fewer, better, squared boxes `(n, 4)`."""
        boxes_px, inside = _whole_pixels(boxes, areas)
        probability, offsets = self._run(self._rnet, areas, boxes_px[inside], REJECTION_PX)
        passed = probability[:, 0] > self.thresholds[1]
        boxes, scores, offsets = boxes[inside][passed], probability[passed, 0], offsets[passed]
        kept = bx.suppress_by_union(boxes, scores, limit=0.7)
        return bx.squared(bx.regressed(boxes[kept], offsets[kept], extra_px=1))

    def _locate(
        self, areas: AreaTable, boxes: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Run O-Net on squared boxes.

        Returns:
            Probabilities `(n,)`, 0 outside the image; boxes `(n, 4)`; landmarks `(n, 5, 2)`.
        """
        boxes_px, inside = _whole_pixels(boxes, areas)
        scores = np.zeros(len(boxes), np.float32)
        offsets = np.zeros((len(boxes), 4), np.float32)
        points = np.zeros((len(boxes), 2, 5), np.float32)
        probability, offsets[inside], flat = self._run(
            self._onet, areas, boxes_px[inside], OUTPUT_PX
        )
        scores[inside], points[inside] = probability[:, 0], flat.reshape(-1, 2, 5)
        wh = bx.sides(boxes) + 1
        landmarks = points.transpose(0, 2, 1) * wh[:, None] + boxes[:, None, :2] - 1
        return scores, bx.regressed(boxes, offsets, extra_px=1), landmarks


def _open_session(path: Path) -> Any:
    """Load a network for one thread; the detector spreads its work over threads itself.

    Pyramid levels and candidates split evenly. Threads inside a session would wait for each other
    at every small layer.
    """
    onnxruntime = require("onnxruntime", extra="cpu")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_mem_pattern = False  # every level and batch has a different shape
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise BundleError(f"{path} cannot be loaded: delete its folder to rebuild it") from error


def _whole_pixels(boxes: FloatArray, areas: AreaTable) -> tuple[IntArray, NDArray[np.intp]]:
    """Clip boxes to whole pixels, counted from 1 as in MTCNN.

    Returns:
        Boxes `(n, 4)`, counted from 0 with ends excluded, and the indices of non-empty ones.
    """
    boxes_px = boxes.astype(np.int64)
    boxes_px[:, :2] = np.maximum(boxes_px[:, :2], 1) - 1
    boxes_px[:, 2:] = np.minimum(boxes_px[:, 2:], [areas.width, areas.height])
    return boxes_px, np.flatnonzero((boxes_px[:, 2:] > boxes_px[:, :2]).all(axis=1))


def _region_around(boxes: FloatArray, image: UInt8Array) -> tuple[int, int, int, int] | None:
    """Return the region of the image that holds all boxes; None if no box touches the image."""
    if not len(boxes):
        return None
    left, top = np.maximum(boxes[:, :2].min(axis=0).astype(int) - 1, 0)
    right, bottom = np.minimum(boxes[:, 2:].max(axis=0).astype(int) + 1, image.shape[1::-1])
    return (left, top, right, bottom) if left < right and top < bottom else None


def _check_image(image: UInt8Array) -> None:
    given = (getattr(image, "dtype", type(image).__name__), getattr(image, "shape", None))
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        raise UsageError(f"the image is {given[0]}: it must be an array of uint8")
    if image.ndim != 3 or image.shape[2] != 3:
        raise UsageError(f"the image is {given[1]}: it must be (H, W, 3), RGB")


def _check_arguments(min_face_px: int, thresholds: tuple[float, ...], factor: float) -> None:
    if min_face_px < CELL_PX:
        raise UsageError(f"min_face_px is {min_face_px}: it must be at least {CELL_PX}")
    if not all(0 < threshold < 1 for threshold in thresholds):
        raise UsageError(f"thresholds are {thresholds}: each must lie between 0 and 1")
    if not 0 < factor < 1:
        raise UsageError(f"factor is {factor}: it must lie between 0 and 1")
