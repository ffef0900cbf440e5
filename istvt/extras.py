"""Optional packages in, or the pip command that installs them out."""

from importlib import import_module
from types import ModuleType

from istvt.errors import MissingExtraError


def require(module: str, *, extra: str) -> ModuleType:
    """Import an optional package where it is used.

    Raises:
        MissingExtraError: it is not installed; the message holds the pip command.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise  # installed, but something it needs is missing
        raise MissingExtraError(f"{module} is needed here: pip install 'istvt[{extra}]'") from error
