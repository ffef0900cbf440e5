"""Name the promises of the `Scorer` protocol that a scorer breaks."""

from collections.abc import Callable, Sequence

import numpy as np

from istvt.errors import UsageError
from istvt.records import FloatArray, UInt8Array
from istvt.scorer import Features, Scorer

BATCHES = (2, 8, 4)  # each has a CUDA graph of its own: recorded in the second turn, in use then
TURNS, STEP = 3, 2  # in each turn other windows, which a graph must not take for the first ones
NUM_WINDOWS = max(BATCHES) + (TURNS - 1) * STEP


def broken_promises(scorer: Scorer, faces: UInt8Array, *, tolerance: float) -> list[str]:
    """Try what the tests of all scorers try.

    Args:
        scorer: open.
        faces: `(T + NUM_WINDOWS - 1, S, S, 3)`, no two alike.
        tolerance: by which a logit may depend on the batch; by a third of it from one call to the
            next. Another right kernel moved it by 3.4e-3 in fp16 and 5.9e-3 in bf16 (preset
            `paper`, on a CPU).

    Returns:
        What does not hold, in words; empty where all does.
    """
    promises: dict[str, Callable[[], bool]] = {
        "batches change no logit": lambda: _batches_agree(scorer, faces, tolerance),
        "handles outlive later calls": lambda: _handles_live(scorer, faces, tolerance),
        "the input may be reused": lambda: _input_is_free(scorer, faces, tolerance),
        "nothing in, nothing out": lambda: _nothing_is_taken(scorer, faces),
        "the order of time matters": lambda: _order_matters(scorer, faces),
        "wrong faces are refused": lambda: _refuses(lambda: scorer.encode(faces[:, 1:])),
        "wrong windows are refused": lambda: _refuses(
            lambda: scorer.score([scorer.encode(faces[:1])])
        ),
    }
    return [name for name, holds in promises.items() if not holds()]


def _sliding(scorer: Scorer, features: Sequence[Features]) -> list[Sequence[Features]]:
    length = scorer.info.spec.num_frames
    return [features[start : start + length] for start in range(len(features) - length + 1)]


def _batches_agree(scorer: Scorer, faces: UInt8Array, tolerance: float) -> bool:
    one_by_one = [scorer.encode(face[None])[0] for face in faces]
    alone = np.concatenate([scorer.score([one]) for one in _sliding(scorer, one_by_one)])
    windows = _sliding(scorer, scorer.encode(faces))
    parts = [slice(STEP * turn, STEP * turn + size) for turn in range(TURNS) for size in BATCHES]
    parts += [slice(None)]  # more than an engine takes at once
    worst = np.max([np.abs(scorer.score(windows[part]) - alone[part]).max() for part in parts])
    return bool(worst <= min(tolerance, float(np.ptp(alone)) / 3))  # false for nan


def _handles_live(scorer: Scorer, faces: UInt8Array, tolerance: float) -> bool:
    kept = _sliding(scorer, scorer.encode(faces))[:1]
    before = scorer.score(kept)
    for _ in range(3):  # a graph that was recorded meanwhile must read what it is given
        other = scorer.score(_sliding(scorer, scorer.encode(255 - faces))[:1])
    return _is_again(scorer.score(kept), before, other, tolerance)


def _input_is_free(scorer: Scorer, faces: UInt8Array, tolerance: float) -> bool:
    buffer = faces.copy()
    windows = _sliding(scorer, scorer.encode(buffer))
    buffer[:] = 0
    black = scorer.score(_sliding(scorer, scorer.encode(buffer)))
    again = _sliding(scorer, scorer.encode(faces))
    return _is_again(scorer.score(windows), scorer.score(again), black, tolerance)


def _nothing_is_taken(scorer: Scorer, faces: UInt8Array) -> bool:
    return len(scorer.encode(faces[:0])) == 0 and scorer.score([]).shape == (0,)


def _order_matters(scorer: Scorer, faces: UInt8Array) -> bool:
    window = _sliding(scorer, scorer.encode(faces))[0]
    return bool(scorer.score([window])[0] != scorer.score([list(window)[::-1]])[0])


def _is_again(found: FloatArray, expected: FloatArray, other: FloatArray, tolerance: float) -> bool:
    """Tell logits of the same faces; those of other faces must lie far from them."""
    limit = np.minimum(tolerance, np.abs(other - expected)) / 3
    return bool((np.abs(found - expected) <= limit).all())  # false for nan


def _refuses(act: Callable[[], object]) -> bool:
    try:
        act()
    except UsageError:
        return True
    return False
