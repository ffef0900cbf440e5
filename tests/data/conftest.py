import numpy as np
import pytest

from istvt.data.synthetic import ClipRecipe, cut_portrait
from istvt.records import Face

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
