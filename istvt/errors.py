"""Define the error tree and its exit codes.

Each message states what was given, what was expected, and what to do.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """The code that the process returns to the shell."""

    DONE = 0
    BUG = 1
    USAGE = 2
    GATE = 3
    ENVIRONMENT = 4
    SOURCE = 5
    INCOMPLETE = 6
    INTERRUPTED = 130


class IstvtError(Exception):
    """An error that the user can act on; any other exception is a bug."""

    exit_code = ExitCode.BUG


class UsageError(IstvtError):
    """An argument, option, preset, shape or file content is not as expected."""

    exit_code = ExitCode.USAGE


class ModelNotFoundError(UsageError):
    """No run or bundle was found where one was named or expected."""


class BundleError(UsageError):
    """The folder is not a bundle, or a file in it is missing or changed."""


class WeightsError(UsageError):
    """A weights file does not fit the model."""


class DataError(UsageError):
    """A data folder is not laid out as expected, or holds too little."""


class GateError(IstvtError):
    """A measured value left its tolerance: parity, accuracy or a benchmark."""

    exit_code = ExitCode.GATE


class RuntimeEnvironmentError(IstvtError):
    """The machine lacks something, or an engine does not fit it."""

    exit_code = ExitCode.ENVIRONMENT


class MissingExtraError(RuntimeEnvironmentError):
    """An optional package is not installed."""


class BackendError(RuntimeEnvironmentError):
    """A backend or device cannot run here."""


class DeviceMemoryError(BackendError):
    """The device's memory, or the pinned memory of the host, is full."""


class DeviceLostError(BackendError):
    """The device or its driver stopped working; only a new process can use it again."""


class EngineError(RuntimeEnvironmentError):
    """An engine cannot be built, or does not fit this machine or the bundle's graphs."""


class SourceError(IstvtError):
    """A camera, file or URL yields no frames."""

    exit_code = ExitCode.SOURCE


class SourceNotFoundError(SourceError):
    """There is no such file, folder or camera."""


class UnreadableSourceError(SourceError):
    """The source exists but cannot be decoded at all."""


class BrokenSourceError(SourceError):
    """Decoding stopped before the declared end; the frames read so far stay valid."""

    def __init__(self, message: str, *, frames_read: int, frames_declared: int | None) -> None:
        super().__init__(message)
        self.frames_read = frames_read
        self.frames_declared = frames_declared
