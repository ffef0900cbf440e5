"""Run the tests in here on an NVIDIA GPU only, and skip what this machine lacks with its reason."""

import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from gpu_check.subject import SETTINGS_VARIABLE, CannotRunError, Settings, is_out_of_memory
from istvt.errors import MissingExtraError


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.gpu)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    yield from _skipping_what_is_lacking()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    yield from _skipping_what_is_lacking()


def _skipping_what_is_lacking() -> Generator[None, None, None]:
    try:
        yield
    except (CannotRunError, MissingExtraError) as error:
        pytest.skip(str(error))
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        pytest.skip(f"the GPU's memory is too small: {error}")


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Those of the running `gpu_check`; of their own where there is none."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("PyTorch sees no CUDA device")
    given: dict[str, Any] = json.loads(os.environ.get(SETTINGS_VARIABLE, "{}"))
    work = str(tmp_path_factory.mktemp("gpu"))
    return Settings(**{"device": "cuda", "preset_name": "paper", "work": work, **given})
