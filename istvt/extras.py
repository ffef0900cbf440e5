"""Import optional packages, or name the pip command that installs them."""

from importlib import import_module
from types import ModuleType

from istvt.errors import MissingExtraError, RuntimeEnvironmentError


def require(module: str, *, extra: str) -> ModuleType:
    """Import an optional package where it is used.

    Raises:
        MissingExtraError: it is not installed; the message holds the pip command.
        RuntimeEnvironmentError: it is installed but cannot be loaded.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise _unloadable(module, error) from error
        raise MissingExtraError(f"{module} is needed here: pip install 'istvt[{extra}]'") from error
    except (ImportError, OSError) as error:
        raise _unloadable(module, error) from error


def _unloadable(module: str, error: Exception) -> RuntimeEnvironmentError:
    return RuntimeEnvironmentError(
        f"{module} is installed but a dependency is missing or broken: {error}"
    )
