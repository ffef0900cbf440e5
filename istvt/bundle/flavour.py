"""Load one of the two TensorRT libraries, and find out which are installed."""

import logging
import sys
from collections.abc import Iterable
from importlib import metadata
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Literal, TypeAlias

from istvt.errors import EngineError
from istvt.extras import require

logger = logging.getLogger(__name__)

Flavour: TypeAlias = Literal["rtx", "tensorrt"]

MODULES: dict[Flavour, str] = {"rtx": "tensorrt_rtx", "tensorrt": "tensorrt"}
# The first whose parser reads `Attention` (release notes of TensorRT 10.14); we tried 1.7.
LEAST_VERSIONS: dict[Flavour, tuple[int, int]] = {"rtx": (1, 7), "tensorrt": (10, 14)}
# The GPUs that TensorRT-RTX 1.7 supports, for use while the library is not loaded.
RTX_CAPABILITIES = (75, 80, 86, 89, 120, 121)
TITLES: dict[Flavour, str] = {"rtx": "TensorRT-RTX", "tensorrt": "TensorRT"}


def load_tensorrt(flavour: Flavour) -> ModuleType:
    """Import one of the two libraries, but never both in one process.

    Raises:
        MissingExtraError: it is not installed.
        EngineError: the other one is already loaded, or this one is too old.
    """
    for other, module in MODULES.items():
        if other != flavour and module in sys.modules:
            raise EngineError(
                f"{module} is loaded in this process, and {MODULES[flavour]} cannot be loaded "
                "beside it: use only one of them in a process"
            )
    trt = require(MODULES[flavour], extra=flavour)
    major, minor = map(int, trt.__version__.split(".")[:2])
    if (major, minor) < LEAST_VERSIONS[flavour]:
        raise EngineError(
            f"{TITLES[flavour]} {trt.__version__} is too old for these graphs: install "
            f"{'.'.join(map(str, LEAST_VERSIONS[flavour]))} or later, or use another runtime"
        )
    return trt


def rtx_capabilities(trt: ModuleType) -> tuple[int, ...]:
    """Ask TensorRT-RTX which GPUs it supports, as 89 for 8.9."""
    names: Iterable[str] = trt.ComputeCapability.__members__
    return tuple(int(name[2:]) for name in names if name.startswith("SM"))


def check_rtx_gpu(compute_capability: int, name: str, known: Iterable[int]) -> None:
    """Refuse a GPU that TensorRT-RTX does not support, such as Hopper.

    Raises:
        EngineError: names the GPUs it supports, and what to use instead.
    """
    if compute_capability not in known:
        raise EngineError(
            f"TensorRT-RTX supports GPUs of compute capability {', '.join(map(str, known))}, and "
            f"{name} has {compute_capability}: use TensorRT, ONNX Runtime or PyTorch there"
        )


def installed_version(flavour: Flavour) -> str | None:
    """Read the version from the package's metadata without importing it; None if it has none.

    This reads the bindings' metadata, whose version equals `__version__`. The package `tensorrt`
    itself lets pip install later bindings than its own version (NVIDIA/TensorRT#3945).
    """
    if find_spec(MODULES[flavour]) is None:
        return None
    for name in (f"{MODULES[flavour]}_cu{major}_bindings" for major in (13, 12)):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def cuda_of(flavour: Flavour) -> str:
    """Read the CUDA major version from the name of the installed wheel; empty if unknown."""
    for major in ("13", "12"):
        try:
            metadata.version(f"{MODULES[flavour]}_cu{major}")
        except metadata.PackageNotFoundError:
            continue
        return major
    return ""


def make_logger(trt: ModuleType, errors: list[str]) -> Any:
    """Make a TensorRT logger that sends all messages to our debug log and collects errors.

    Args:
        trt: either library.
        errors: receives the texts of errors; the caller raises and empties them.
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
