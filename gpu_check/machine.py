"""What GPU there is, and what it can."""

from gpu_check.check import Check
from gpu_check.result import CannotRunError, Outcome, Settings
from istvt.extras import require


def look_at_gpu(settings: Settings) -> Outcome:
    """Name the GPU that PyTorch uses.

    Raises:
        CannotRunError: PyTorch sees none.
        MissingExtraError: PyTorch is not installed.
    """
    torch = require("torch", extra="gpu")
    if not torch.cuda.is_available():
        raise CannotRunError(f"PyTorch {torch.__version__} sees no CUDA device on this machine")
    about = torch.cuda.get_device_properties(0)
    return Outcome(
        figures={
            "compute_capability": 10 * about.major + about.minor,
            "memory_gib": about.total_memory / 2**30,
            "l2_mib": about.L2_cache_size / 2**20,
            "multiprocessors": about.multi_processor_count,
        },
        note=f"{about.name}; CUDA {torch.version.cuda}",
    )


def require_bf16(settings: Settings, dtype: str) -> None:
    """Leave out what no GPU before compute capability 8.0 has.

    Raises:
        CannotRunError: it is bf16 that is asked for, of such a GPU.
    """
    if dtype != "bf16" or settings.device != "cuda":
        return
    capability = require("torch", extra="gpu").cuda.get_device_capability()
    if capability < (8, 0):
        found = ".".join(map(str, capability))
        raise CannotRunError(f"bf16 needs compute capability 8.0; this GPU has {found}")


CHECKS: dict[str, Check] = {"gpu": look_at_gpu}
