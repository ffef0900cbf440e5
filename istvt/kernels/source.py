"""Load the Triton function of an attention by name, and import Triton only then."""

from typing import Any

from istvt.extras import require
from istvt.kernels.spec import AttentionName


def triton_kernel(attention: AttentionName) -> Any:
    """Return the Triton function of an attention.

    Raises:
        MissingExtraError: Triton is not installed.
    """
    require("triton", extra="gpu")
    if attention == "temporal":
        from istvt.kernels.temporal import temporal_attention_kernel

        return temporal_attention_kernel
    from istvt.kernels.spatial import spatial_attention_kernel

    return spatial_attention_kernel
