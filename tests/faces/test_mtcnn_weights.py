from importlib import metadata

import numpy as np
import onnxruntime
import pytest
import torch

from istvt.errors import MissingExtraError, RuntimeEnvironmentError, UsageError
from istvt.faces import mtcnn_weights
from tests.faces.facenet_reference import make_reference


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        ("pnet", (2, 3, 61, 76)),  # an odd and an even map to pool
        ("pnet", (1, 3, 40, 33)),
        ("rnet", (5, 3, 24, 24)),
        ("onet", (3, 3, 48, 48)),
    ],
)
def test_networks_agree_with_facenets(detector_folder, network, shape):
    pixels = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    reference = getattr(make_reference(), network)
    with torch.no_grad():
        box, *landmarks, probability = reference((torch.as_tensor(pixels) - 127.5) * 0.0078125)
    session = onnxruntime.InferenceSession(detector_folder / f"{network}.onnx")
    found = session.run(None, {"pixels": pixels})
    wanted = [probability[:, 1:], box, *landmarks]
    assert len(found) == len(wanted)
    for output, value in zip(found, wanted, strict=True):
        np.testing.assert_allclose(output, value.numpy(), atol=1e-5)


def test_user_cache_is_built_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = mtcnn_weights.detector_folder()
    assert folder.is_relative_to(tmp_path / "istvt")
    written = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert set(written) == set(mtcnn_weights.FILE_NAMES)
    assert mtcnn_weights.detector_folder() == folder
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == written
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_cached_detector_needs_no_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = mtcnn_weights.detector_folder()
    monkeypatch.setattr(metadata, "files", _raise_not_found)
    assert mtcnn_weights.detector_folder() == folder


def test_missing_facenet_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(metadata, "files", _raise_not_found)
    with pytest.raises(MissingExtraError, match=r"facenet-pytorch.*pip install"):
        mtcnn_weights.build_detector(tmp_path / "mtcnn")
    assert not (tmp_path / "mtcnn").exists()


def test_failed_build_leaves_nothing(tmp_path, monkeypatch):
    class FullDisk:
        def write_bytes(self, content):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(mtcnn_weights.Path, "write_bytes", FullDisk.write_bytes)
    with pytest.raises(RuntimeEnvironmentError, match="No space left"):
        mtcnn_weights.build_detector(tmp_path / "mtcnn")
    assert list(tmp_path.iterdir()) == []


def test_foreign_folder_is_not_overwritten(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(UsageError, match="is no face detector"):
        mtcnn_weights.build_detector(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


def _raise_not_found(name):
    raise metadata.PackageNotFoundError(name)
