"""The two libraries of TensorRT: which are installed, and one of them loaded."""

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
# The first whose parser reads `Attention` (release notes of TensorRT 10.14); 1.7 is what we tried.
LEAST_VERSIONS: dict[Flavour, tuple[int, int]] = {"rtx": (1, 7), "tensorrt": (10, 14)}
# What TensorRT-RTX 1.7 knows, where it cannot be asked without being loaded.
RTX_CAPABILITIES = (75, 80, 86, 89, 120, 121)
TITLES: dict[Flavour, str] = {"rtx": "TensorRT-RTX", "tensorrt": "TensorRT"}


def load_tensorrt(flavour: Flavour) -> ModuleType:
    """Import one of the two libraries, and never both into one process.

    Raises:
        MissingExtraError: it is not installed.
        EngineError: the other one is loaded already, or it is too old.
    """
    for other, module in MODULES.items():
        if other != flavour and module in sys.modules:
            raise EngineError(
                f"{module} is loaded in this process, and {MODULES[flavour]} cannot be beside it: "
                "use one of them in a process"
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
    """Ask TensorRT-RTX which GPUs it knows, as 89 for 8.9."""
    names: Iterable[str] = trt.ComputeCapability.__members__
    return tuple(int(name[2:]) for name in names if name.startswith("SM"))


def check_rtx_gpu(compute_capability: int, name: str, known: Iterable[int]) -> None:
    """Refuse a GPU that TensorRT-RTX has nothing for, such as Hopper's.

    Raises:
        EngineError: says what it does know, and what to use in its place.
    """
    if compute_capability not in known:
        raise EngineError(
            f"TensorRT-RTX knows GPUs of compute capability {', '.join(map(str, known))}, and "
            f"{name} has {compute_capability}: use TensorRT, ONNX Runtime or PyTorch there"
        )


def installed_version(flavour: Flavour) -> str | None:
    """Ask the package's metadata, without importing it; None where that does not say.

    The bindings are asked, whose version is what `__version__` says; the package `tensorrt` itself
    lets pip take later ones than its own (NVIDIA/TensorRT#3945).
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
