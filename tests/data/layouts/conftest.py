from pathlib import Path

import pytest

from tests.data.layouts.trees import make_celebdf, make_dfdc, make_ffpp, make_folder


@pytest.fixture
def ffpp(tmp_path: Path) -> Path:
    return make_ffpp(tmp_path / "FaceForensics++")


@pytest.fixture
def celebdf(tmp_path: Path) -> Path:
    return make_celebdf(tmp_path / "Celeb-DF-v2")


@pytest.fixture
def dfdc(tmp_path: Path) -> Path:
    return make_dfdc(tmp_path / "dfdc")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "plain")
