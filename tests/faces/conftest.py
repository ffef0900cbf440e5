from functools import cache

import av
import cv2
import pytest

from istvt.records import Frame


@cache
def _decoded(path, step):
    if path.suffix == ".jpg":
        return (Frame(cv2.imread(str(path))[..., ::-1].copy(), 0, 0.0, path.name),)
    with av.open(str(path)) as container:
        return tuple(
            Frame(picture.to_ndarray(format="rgb24"), index, float(picture.time or 0), path.name)
            for index, picture in enumerate(container.decode(video=0))
            if index % step == 0
        )


@pytest.fixture(scope="session")
def frames(media):
    """Every step-th frame of a sample."""
    return lambda name, step=1: _decoded(media / name, step)


@pytest.fixture(scope="session")
def detector_folder(tmp_path_factory):
    from istvt.faces.mtcnn_weights import build_detector

    folder = tmp_path_factory.mktemp("faces") / "mtcnn"
    build_detector(folder)
    return folder


@pytest.fixture(scope="session")
def detector(detector_folder):
    from istvt.faces.mtcnn import MtcnnDetector

    return MtcnnDetector(detector_folder, threads=2)
