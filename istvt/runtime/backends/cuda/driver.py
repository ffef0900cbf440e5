"""Call the NVIDIA driver's own library, and translate its errors into ours."""

import ctypes
from typing import Any

from istvt.compute import device_error
from istvt.errors import BackendError

LIBRARY = "libcuda.so.1"


class CudaDriver:
    """Calls functions of the driver by name.

    Args:
        library: replaces the driver's, for tests.

    Raises:
        BackendError: there is no driver.
    """

    def __init__(self, library: Any = None) -> None:
        self._library = library or _load()

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function.

        Raises:
            BackendError: its status is not 0; also DeviceLostError and DeviceMemoryError.
        """
        self.check(name, self.status_of(name, *arguments))

    def status_of(self, name: str, *arguments: Any) -> int:
        """Call a function and return its status."""
        status: int = getattr(self._library, name)(*arguments)
        return status

    def check(self, name: str, status: int) -> None:
        """Raise the error of a status; see `call`."""
        if status == 0:
            return
        text = ctypes.c_char_p()
        self._library.cuGetErrorString(status, ctypes.byref(text))
        told = (text.value or b"unknown error").decode()
        raise device_error(name, f"{told} (CUDA status {status})")


def _load() -> Any:
    try:
        return ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise BackendError(f"there is no NVIDIA driver here: {error}") from error
