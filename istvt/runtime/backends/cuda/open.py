"""Open a GPU by its number, through the package that is installed."""

from importlib.util import find_spec

from istvt.errors import MissingExtraError
from istvt.runtime.backends.cuda.device import Device


def open_device(index: int = 0) -> Device:
    """Open a GPU through PyCUDA, or through cuda-python where PyCUDA is not installed.

    Raises:
        MissingExtraError: neither is installed.
        BackendError: there is no such GPU, or its driver does not respond.
    """
    if find_spec("pycuda"):
        from istvt.runtime.backends.cuda.pycuda import PyCudaDevice

        return PyCudaDevice(index)
    if find_spec("cuda") and find_spec("cuda.bindings"):
        from istvt.runtime.backends.cuda.cuda_python import CudaPythonDevice

        return CudaPythonDevice(index)
    raise MissingExtraError(
        "a GPU's memory is reached through PyCUDA or cuda-python, and neither is installed: "
        "pip install 'istvt[rtx]' (cuda-python), or pip install pycuda"
    )
