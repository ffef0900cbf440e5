"""What several test folders share."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from istvt.bundle.manifest import Bundle


@pytest.fixture(scope="session")
def media() -> Path:
    """The folder of real recordings, which are no part of the repository."""
    default = Path(__file__).parents[2] / "shared" / "media"
    folder = Path(os.environ.get("ISTVT_MEDIA", default))
    if not folder.is_dir():
        pytest.skip(f"no sample media at {folder}; set ISTVT_MEDIA")
    return folder


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the preset `tiny` with random weights and held-out windows of its own."""
    import numpy as np

    from istvt.models.load import save_run, save_sample_windows
    from istvt.presets import TINY
    from tests.random_models import config_of, random_model

    folder = tmp_path_factory.mktemp("runs") / "tiny"
    save_run(folder, random_model(TINY), config_of(TINY))
    shape = (3, TINY.num_frames, TINY.image_size, TINY.image_size, 3)
    save_sample_windows(folder, np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8))
    return folder


@pytest.fixture(scope="session")
def tiny_bundle(tiny_run: Path) -> "Bundle":
    """The bundle of `tiny_run`, exported the way a user does."""
    from istvt.export.build import export_run

    return export_run(tiny_run, tiny_run.with_name("tiny.istvt")).bundle
