import numpy as np
import pytest

from istvt.data.synthetic.talking_head import ClipRecipe, cut_portrait, make_clip
from istvt.records import Face
from tests.data.faces import write_video

# MTCNN's, read off once: the tests of motion and blending need no detector.
ASTRONAUT = Face(
    box_xyxy=np.array([181, 62, 268, 172], np.float32),
    landmarks=np.array([[205, 102], [247, 104], [225, 129], [202, 139], [245, 142]], np.float32),
    confidence=1.0,
)


@pytest.fixture(scope="session")
def astronaut():
    data = pytest.importorskip("skimage.data", reason="the astronaut comes with scikit-image")
    return data.astronaut()


@pytest.fixture(scope="session")
def face():
    return ASTRONAUT


@pytest.fixture(scope="session")
def portrait(astronaut, face):
    return cut_portrait(astronaut, [face], name="astronaut", size_px=128)


@pytest.fixture(scope="session")
def short_clip():
    return ClipRecipe(size_px=128, num_frames=12)


@pytest.fixture(scope="session")
def face_images(astronaut, face):
    """Twelve pictures of a moving face."""
    portrait = cut_portrait(astronaut, [face], name="astronaut", size_px=192)
    recipe = ClipRecipe(size_px=192, num_frames=12)
    return [image for image, _ in make_clip(portrait, seed=2, recipe=recipe)]


@pytest.fixture(scope="session")
def videos(tmp_path_factory, face_images):
    """A folder of four files: a face, none, one that is lost for a while, and a file cut short."""
    pytest.importorskip("onnxruntime", reason="face detection needs ONNX Runtime")
    folder = tmp_path_factory.mktemp("videos")
    blank = np.full_like(face_images[0], 90)
    write_video(folder / "face.mp4", face_images)
    write_video(folder / "empty.mp4", [blank] * len(face_images))
    write_video(folder / "gap.mp4", [*face_images[:7], blank, blank, *face_images[7:]])
    whole = (folder / "face.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    return folder
