"""An attention's name in, its Triton function out. Triton is imported here and nowhere before."""

from typing import Any

from istvt.export.kernels.spec import AttentionName
from istvt.extras import require


def triton_kernel(attention: AttentionName) -> Any:
    """Give the Triton function of an attention.

    Raises:
        MissingExtraError: Triton is not installed.
    """
    require("triton", extra="gpu")
    if attention == "temporal":
        from istvt.export.kernels.temporal import temporal_attention_kernel

        return temporal_attention_kernel
    from istvt.export.kernels.spatial import spatial_attention_kernel

    return spatial_attention_kernel
