"""The two libraries of TensorRT: which are installed, and one of them loaded."""

import logging
import sys
from importlib import metadata
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Literal, TypeAlias

from istvt.errors import EngineError
from istvt.extras import require

logger = logging.getLogger(__name__)

Flavour: TypeAlias = Literal["rtx", "tensorrt"]

MODULES: dict[Flavour, str] = {"rtx": "tensorrt_rtx", "tensorrt": "tensorrt"}
TITLES: dict[Flavour, str] = {"rtx": "TensorRT-RTX", "tensorrt": "TensorRT"}


def choose_flavour(name: str) -> Flavour | None:
    """Turn `auto`, `rtx`, `tensorrt` or `none` into what is built; auto takes what is installed."""
    if name == "none":
        return None
    if name in MODULES:
        return name
    return next((flavour for flavour, module in MODULES.items() if find_spec(module)), None)


def load_tensorrt(flavour: Flavour) -> ModuleType:
    """Import one of the two libraries, and never both into one process.

    Raises:
        MissingExtraError: it is not installed.
        EngineError: the other one is loaded already.
    """
    for other, module in MODULES.items():
        if other != flavour and module in sys.modules:
            raise EngineError(
                f"{module} is loaded in this process, and {MODULES[flavour]} cannot be beside it: "
                "use one of them in a process"
            )
    return require(MODULES[flavour], extra=flavour)


def installed_version(flavour: Flavour) -> str | None:
    """Ask the package's metadata, without importing it; None where it is not installed."""
    if find_spec(MODULES[flavour]) is None:
        return None
    for name in (MODULES[flavour], f"{MODULES[flavour]}_cu13", f"{MODULES[flavour]}_cu12"):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def cuda_of(flavour: Flavour) -> str:
    """Tell the CUDA major version from the name of the installed wheel; empty where unknown."""
    for major in ("13", "12"):
        try:
            metadata.version(f"{MODULES[flavour]}_cu{major}")
        except metadata.PackageNotFoundError:
            continue
        return major
    return ""


def make_logger(trt: ModuleType, errors: list[str]) -> Any:
    """Make TensorRT's logger: all goes to ours as advice; what failed is raised, with `errors`.

    Args:
        trt: either library.
        errors: takes the texts of errors; the caller empties it.
    """
    severities = trt.ILogger.Severity

    class Messages(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, text: str) -> None:
            if severity in (severities.INTERNAL_ERROR, severities.ERROR):
                errors.append(" ".join(text.split()))
            if severity != severities.VERBOSE:
                logger.debug("%s: %s", trt.__name__, text)

    return Messages()
