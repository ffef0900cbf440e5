import json
from dataclasses import replace
from pathlib import Path

import pytest

from istvt.bundle.engines import (
    EngineRecord,
    Place,
    engine_path,
    onnx_digests,
    open_engine,
    parse_capabilities,
    read_record,
    rebuild_command,
    sidecar_of,
)
from istvt.errors import EngineError, UsageError
from istvt.files import sha256_of

PLACE = Place(version="1.7.1", cuda="13", driver=13010, compute_capability=89)
CONTENT = b"an engine, as far as its sidecar can tell"


@pytest.fixture
def bundle(tiny_bundle, tmp_path):
    """The bundle's manifest over a folder of its own."""
    return replace(tiny_bundle, folder=tmp_path)


@pytest.fixture
def record(bundle):
    path = engine_path(bundle.folder, "window", "rtx")
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    record = EngineRecord(
        flavour="rtx",
        version="1.7.1",
        cuda="13",
        driver=None,
        gpu="",
        compute_capabilities=(86, 89),
        precision="fp32",
        max_batch=16,
        plugins=(),
        onnx=onnx_digests(bundle, "window"),
        sha256=sha256_of(path),
        num_bytes=len(CONTENT),
        num_layers=711,
        build_s=2.5,
    )
    record.write(sidecar_of(path))
    return record


def load(bundle, **changed):
    return open_engine(bundle, "window", "rtx", place=replace(PLACE, **changed))


def change(bundle, **values):
    path = sidecar_of(engine_path(bundle.folder, "window", "rtx"))
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_what_fits_is_given(bundle, record):
    assert load(bundle) == (record, CONTENT)
    assert set(record.onnx) == {"window.onnx", "window.onnx.data"}


def test_another_version_is_told(bundle, record):
    with pytest.raises(EngineError, match=r"TensorRT-RTX 1\.7\.1, and this is 1\.8\.0; rebuild it"):
        load(bundle, version="1.8.0")


def test_another_gpu_is_told(bundle, record):
    with pytest.raises(EngineError, match=r"capability 86, 89, and this GPU has 120"):
        load(bundle, compute_capability=120)


def test_a_driver_that_is_too_old_is_told(bundle, record):
    with pytest.raises(EngineError, match=r"of CUDA 13\.0 or later, and this one is of 12\.8: up"):
        load(bundle, driver=12080)
    change(bundle, driver=13020)
    load(bundle, driver=13020)
    load(bundle, driver=14000)
    with pytest.raises(EngineError, match=r"of CUDA 13\.2 or later, and this one is of 13\.1: up"):
        load(bundle, driver=13010)


def test_another_cuda_is_told(bundle, record):
    with pytest.raises(EngineError, match=r"for CUDA 13, and this TensorRT-RTX is for 12; rebuild"):
        load(bundle, cuda="12", driver=12080)
    load(bundle, cuda="")
    change(bundle, cuda="")
    load(bundle, driver=12080)


def test_without_targets_it_is_for_all_from_8_0(bundle, record):
    change(bundle, compute_capabilities=[])
    load(bundle, compute_capability=120)
    with pytest.raises(EngineError, match="80 and later, and this GPU has 75"):
        load(bundle, compute_capability=75)


def test_a_truncated_engine_is_told(bundle, record):
    engine_path(bundle.folder, "window", "rtx").write_bytes(CONTENT[:-3])
    with pytest.raises(
        EngineError, match=rf"{len(CONTENT) - 3} bytes of {len(CONTENT)}: it is cut"
    ):
        load(bundle)


def test_a_changed_engine_is_told(bundle, record):
    engine_path(bundle.folder, "window", "rtx").write_bytes(CONTENT[::-1])
    with pytest.raises(EngineError, match="SHA-256 differs"):
        load(bundle)


@pytest.mark.parametrize("file", ["window.onnx", "window.onnx.data"])
def test_a_swapped_onnx_file_is_told(bundle, record, file):
    swapped = replace(bundle, files={**bundle.files, file: "0" * 64})
    with pytest.raises(EngineError, match="built from other ONNX files"):
        load(swapped)


def test_another_flavour_is_told(bundle, record):
    change(bundle, flavour="tensorrt")
    with pytest.raises(EngineError, match="not for TensorRT-RTX"):
        load(bundle)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema_version": 2}'])
def test_a_damaged_sidecar_is_told(bundle, record, text):
    sidecar_of(engine_path(bundle.folder, "window", "rtx")).write_text(text)
    with pytest.raises(EngineError, match=r"window-rtx\.json is damaged.*rebuild it"):
        load(bundle)


@pytest.mark.parametrize(
    "values",
    [
        *({"max_batch": "16"}, {"max_batch": 0}, {"flavour": ["rtx"]}, {"flavour": "trt"}),
        *({"cuda": "thirteen"}, {"driver": "13010"}),
        {"plugins": ["spatial"]},
        {"plugins": True},
    ],
)
def test_a_sidecar_of_other_values_is_told(bundle, record, values):
    change(bundle, **values)
    with pytest.raises(EngineError, match=r"window-rtx\.json is damaged.*rebuild it"):
        load(bundle)


def test_the_command_can_be_pasted():
    assert "--model '/my models/m.istvt' --engine rtx" in rebuild_command(
        Path("/my models/m.istvt"), "rtx"
    )


def test_another_schema_and_a_missing_sidecar_are_told(bundle, record):
    change(bundle, schema_version=1)
    with pytest.raises(EngineError, match=r"schema version 1, this istvt reads 2"):
        load(bundle)
    sidecar_of(engine_path(bundle.folder, "window", "rtx")).unlink()
    with pytest.raises(EngineError, match="has no sidecar"):
        read_record(engine_path(bundle.folder, "window", "rtx"))


def test_no_engine_names_the_command(bundle):
    with pytest.raises(EngineError, match=rf"istvt export --model {bundle.folder} --engine rtx"):
        load(bundle)


@pytest.mark.parametrize(
    ("text", "expected"),
    [(None, ()), ("86", (86,)), ("86,89, 120", (86, 89, 120)), ("8.6,12.0,8.6", (86, 120))],
)
def test_compute_capabilities_are_read(text, expected):
    assert parse_capabilities(text) == expected


@pytest.mark.parametrize("text", ["", "ada", "8", "1200"])
def test_other_texts_are_refused(text):
    with pytest.raises(UsageError, match="--compute-capability"):
        parse_capabilities(text)
