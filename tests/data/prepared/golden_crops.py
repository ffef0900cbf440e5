"""Cut the crops of one made clip and describe them.

`python -m tests.data.prepared.golden_crops` keeps the description.

The clip is the same bytes on every machine: windows of a portrait are moved by whole pixels, turned
into YUV by numpy and packed without loss. How it is decoded, searched and cut differs in the last
bits between CPUs. The detector rounds boxes to whole pixels, so one bit may move a box by a pixel:
crops are compared where a fixed face replaces what the detector finds.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import av
import numpy as np
from numpy.typing import NDArray

from istvt.data.layouts.manifest import Label, Video
from istvt.data.prepared.crops import CropReader
from istvt.data.prepared.face_recipe import FaceRecipe
from istvt.data.prepared.keys import CROPS_VERSION
from istvt.data.prepared.shards import LoadedFaces, VideoFaces, read_faces
from istvt.presets import CropRecipe, Sampling
from istvt.records import Face, FloatArray, UInt8Array

GOLDEN_FILE = Path(__file__).with_name("golden_crops.npz")
RECIPE = FaceRecipe(CropRecipe(144), Sampling(), num_frames=6)
RECIPES = {
    "png": RECIPE,
    "jpeg": FaceRecipe(
        CropRecipe(64, scale=1.6, align=False),
        Sampling(frame_step=None, sample_fps=10.0),
        num_frames=3,
        windows_per_video=2,
        codec="jpeg",
    ),
}
FACE = Face(  # tilted, and at the picture's edge
    box_xyxy=np.array([20.3, 40.7, 107.2, 150.1], np.float32),
    landmarks=np.array([[44, 80], [86, 86], [62, 110], [40, 118], [81, 124]], np.float32),
    confidence=1.0,
)
WIDTH, HEIGHT, FPS = 288, 240, 25
CELLS = 6  # along each side of a crop
LUMA = np.array([0.299, 0.587, 0.114])
# Of a face, from its chin up. The detector's confidence is 0.75 for 79, and 0.46 for 85; it keeps
# what is above 0.6.
COVERED_ROWS = (0, 0, 79, 0, 0, 85, 0, 0)

Description = dict[str, NDArray[np.generic]]


def clip_images(portrait: UInt8Array) -> Iterator[UInt8Array]:
    """Show a face, cover it, show nothing until its track ends, show it again, cut to its mirror.

    Args:
        portrait: `(512, 512, 3)`, scikit-image's astronaut.
    """
    for frame in range(12):
        yield _window(portrait, 70 + 3 * frame, 5 + 2 * frame)
    for rows in COVERED_ROWS:
        yield _covered(_window(portrait, 103, 27), rows=rows)
    for _ in range(13):
        yield np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    for frame in range(8):
        yield _window(portrait, 100 - 4 * frame, 20)
    for frame in range(10):
        yield _window(portrait[:, ::-1], 30 + 2 * frame, 10 + frame)


def write_clip(path: Path, portrait: UInt8Array) -> Path:
    """Pack the clip without loss."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for image in clip_images(portrait):
            frame = av.VideoFrame.from_ndarray(_to_yuv420(image), format="yuv420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def describe_crops(clip: Path, recipe: FaceRecipe) -> Description:
    """Cut a clip's crops about one fixed face, and sum them up."""
    with patch("istvt.faces.mtcnn.MtcnnDetector", FixedDetector):
        faces, loaded = _cut(clip, recipe)
    pixels = loaded.images.astype(np.float64)
    steps = np.abs(np.diff(pixels, axis=1))[:, :, 1:] + np.abs(np.diff(pixels, axis=2))[:, 1:]
    return {
        **_describe(faces, loaded),
        "shape": np.array(pixels.shape),
        "colours": _grid(pixels),
        "details": _grid(steps),
        "num_bytes": np.array(faces.num_bytes),
    }


def describe_faces(clip: Path) -> Description:
    """Find a clip's faces, and say where they are."""
    return _describe(*_cut(clip, RECIPE))


class FixedDetector:
    """Finds one and the same face everywhere."""

    def __init__(self, **_: object) -> None:
        pass

    def detect(self, image: UInt8Array) -> list[Face]:
        return [FACE]

    def refine(self, image: UInt8Array, boxes_xyxy: FloatArray) -> list[Face | None]:
        return [FACE] * len(boxes_xyxy)


def _cut(clip: Path, recipe: FaceRecipe) -> tuple[VideoFaces, LoadedFaces]:
    with tempfile.TemporaryDirectory() as folder:
        shard = Path(folder) / "shard.safetensors"
        CropReader(recipe).write(clip, shard)
        faces = read_faces(shard, Video(clip, Label.REAL, "train"))
        return faces, faces.load(range(len(faces)))


def _describe(faces: VideoFaces, loaded: LoadedFaces) -> Description:
    return {
        **{name: getattr(faces, name) for name in ("indices", "track_ids", "runs", "times_s")},
        "frames_read": np.array(faces.frames_read),
        "landmarks": loaded.landmarks,
        "boxes_xyxy": loaded.boxes_xyxy,
    }


def _grid(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Average `(n, S, S, 3)` over cells: `(n, CELLS, CELLS, 3)`."""
    side = values.shape[1] // CELLS
    kept = values[:, : side * CELLS, : side * CELLS]
    cells = kept.reshape(len(values), CELLS, side, CELLS, side, 3)
    return cells.mean(axis=(2, 4)).astype(np.float32)


def _window(portrait: UInt8Array, left: int, top: int) -> UInt8Array:
    return portrait[top : top + HEIGHT, left : left + WIDTH]


def _covered(image: UInt8Array, *, rows: int) -> UInt8Array:
    """Paint over the face from its chin up."""
    covered = image.copy()
    covered[150 - rows : 150, 60:180] = (40, 90, 60)
    return covered


def _to_yuv420(image: UInt8Array) -> UInt8Array:
    """Turn RGB into studio-range BT.601, as most recordings are: `(1.5 H, W)`."""
    rgb = image / 255
    luma = rgb @ LUMA
    blue, red = (rgb[..., 2] - luma) / 1.772, (rgb[..., 0] - luma) / 1.402
    halves = [
        plane.reshape(HEIGHT // 2, 2, WIDTH // 2, 2).mean(axis=(1, 3)).reshape(HEIGHT // 4, WIDTH)
        for plane in (blue, red)
    ]
    planes = [16 + 219 * luma, *(128 + 224 * half for half in halves)]
    return np.rint(np.concatenate(planes)).astype(np.uint8)


def describe(clip: Path) -> Description:
    """Put together all that is kept."""
    parts = {name: describe_crops(clip, recipe) for name, recipe in RECIPES.items()}
    parts["found"] = describe_faces(clip)
    return {f"{name}/{key}": value for name, part in parts.items() for key, value in part.items()}


def main() -> None:
    """Keep today's crops as the golden ones of this version."""
    from skimage.data import astronaut

    if GOLDEN_FILE.is_file() and np.load(GOLDEN_FILE)["version"] == CROPS_VERSION:
        raise SystemExit(f"{GOLDEN_FILE.name} is of this version: bump CROPS_VERSION first")
    with tempfile.TemporaryDirectory() as folder:
        values = describe(write_clip(Path(folder) / "clip.mkv", astronaut()))
    np.savez_compressed(GOLDEN_FILE, version=np.array(CROPS_VERSION), **values)


if __name__ == "__main__":
    main()
