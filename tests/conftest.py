"""What several test folders share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def media() -> Path:
    """The folder of real recordings, which are no part of the repository."""
    default = Path(__file__).parents[2] / "shared" / "media"
    folder = Path(os.environ.get("ISTVT_MEDIA", default))
    if not folder.is_dir():
        pytest.skip(f"no sample media at {folder}; set ISTVT_MEDIA")
    return folder
