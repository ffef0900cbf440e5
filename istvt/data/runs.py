"""The numbers of runs in, the places of windows out; a run is faces without a gap between them."""

import numpy as np
from numpy.typing import NDArray

Int32Array = NDArray[np.int32]


def window_starts(runs: Int32Array, num_frames: int) -> Int32Array:
    """List the rows at which `num_frames` faces of one run begin.

    Args:
        runs: `(n,)`, the number of each face's run, which only grows.
        num_frames: T.
    """
    count = max(len(runs) - num_frames + 1, 0)
    is_whole = runs[:count] == runs[num_frames - 1 :][:count]
    return np.flatnonzero(is_whole).astype(np.int32)


def evenly(count: int, wanted: int) -> list[int]:
    """Choose up to `wanted` of `count` positions, each in the middle of its share."""
    wanted = min(count, wanted)
    return [(2 * i + 1) * count // (2 * wanted) for i in range(wanted)]
