import json
import shutil
from pathlib import Path

import pytest

from istvt.bundle.manifest import Bundle, open_bundle
from istvt.errors import BundleError, ModelNotFoundError
from istvt.presets import TINY


@pytest.fixture
def copy(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle.folder, tmp_path / "copy.istvt"))


def edit(folder: Path, **values: object) -> None:
    manifest = folder / "bundle.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **values}))


def test_a_bundle_comes_back_as_it_was_written(tiny_bundle):
    found = open_bundle(tiny_bundle.folder)
    assert found == tiny_bundle
    assert found.config.preset == TINY
    assert found.digest == tiny_bundle.digest
    assert set(found.files) == {
        "encoder.onnx",
        "window.onnx",
        "window.onnx.data",
        "window.inlined.onnx",
        "weights.safetensors",
        "detector/pnet.onnx",
        "detector/rnet.onnx",
        "detector/onet.onnx",
    }
    assert found.parity[0]["passed"] is True
    assert "torch" in found.tools


@pytest.mark.parametrize("name", ["encoder.onnx", "window.onnx.data", "detector/onet.onnx"])
def test_a_changed_file_is_refused(copy, name):
    content = bytearray((copy / name).read_bytes())
    content[-1] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(BundleError, match=rf"{name}.*SHA-256 differs.*export again"):
        open_bundle(copy)


def test_a_missing_file_is_named(copy):
    (copy / "weights.safetensors").unlink()
    with pytest.raises(BundleError, match=r"weights.safetensors is missing"):
        open_bundle(copy)


def test_a_newer_schema_says_what_to_do(copy):
    edit(copy, schema_version=2)
    with pytest.raises(
        BundleError, match=r"schema version 2, this istvt reads 1.*export the model"
    ):
        open_bundle(copy)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema_version": 1}'])
def test_a_damaged_manifest_is_an_error_of_ours(copy, text):
    (copy / "bundle.json").write_text(text)
    with pytest.raises(BundleError, match="damaged"):
        open_bundle(copy)


def test_a_model_that_cannot_be_is_refused(copy):
    config = json.loads((copy / "bundle.json").read_text())["model"]
    config["preset"]["depth"] = 0
    edit(copy, model=config)
    with pytest.raises(BundleError, match="depth"):
        open_bundle(copy)


def test_what_is_no_bundle_is_told_from_what_is_not_there(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(ModelNotFoundError, match=r"no bundle.json.*istvt export"):
        open_bundle(tmp_path / "folder")
    with pytest.raises(ModelNotFoundError, match="no such folder"):
        open_bundle(tmp_path / "nothing")
