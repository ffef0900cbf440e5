import numpy as np
import pytest

from istvt.errors import GateError
from istvt.presets import TINY
from istvt.runtime.parity import (
    TOLERANCES,
    Tolerance,
    compare,
    engine_tolerance,
    format_parity,
    gate,
    random_windows,
)


def result(reference, candidate, tolerance=TOLERANCES["fp32"]):
    arrays = [np.array(values, dtype=np.float32) for values in (reference, candidate)]
    return compare(("a", arrays[0]), ("b", arrays[1]), origin="test", tolerance=tolerance)


def test_differences_and_flips_are_counted():
    found = result([1.0, -1.0, 0.001], [1.5, -1.0, -0.001])
    assert found.max_abs_logit == pytest.approx(0.5)
    assert found.mean_abs_logit == pytest.approx(0.502 / 3)
    assert found.flips == 1


@pytest.mark.parametrize(("delta", "passes"), [(0.9e-4, True), (1.1e-4, False)])
def test_fp32_tolerance_is_1e_4_on_the_logit(delta, passes):
    assert result([0.0], [delta]).passed is passes


def test_fp16_allows_half_a_per_cent_of_flips():
    reference = np.full(200, 0.01)
    one_flip, two_flips = reference.copy(), reference.copy()
    one_flip[0] = -0.01
    two_flips[:2] = -0.01
    assert result(reference, one_flip, TOLERANCES["fp16"]).passed
    assert not result(reference, two_flips, TOLERANCES["fp16"]).passed


def test_fp16_may_not_squeeze_logits_together_without_a_flip():
    assert not result([4.0] * 10, [0.1] * 10, TOLERANCES["fp16"]).passed


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
@pytest.mark.parametrize("tolerance", TOLERANCES.values())
def test_what_is_not_a_number_never_passes(broken, tolerance):
    assert not result([1.0, 1.0], [1.0, broken], tolerance).passed


@pytest.mark.parametrize(
    ("precision", "logit", "allowed"),
    [
        *(("fp16", 0.5, 0.03), ("fp16", -2.0, 0.06), ("fp16", 9.0, 0.1), ("bf16", 2.0, 0.2)),
        *(("fp32", 9.0, 1e-4), ("int8", 9.0, 1.0), ("fp16", float("nan"), 0.03)),
    ],
)
def test_engines_may_differ_by_what_rounding_does(precision, logit, allowed):
    tolerance = engine_tolerance(precision, np.array([0.1, logit], dtype=np.float32))
    assert tolerance.max_abs_logit == pytest.approx(allowed)
    assert tolerance.flip_fraction == TOLERANCES[precision].flip_fraction


def test_the_gate_names_the_step_and_the_measure():
    gate([result([0.0], [0.0])])
    with pytest.raises(GateError, match=r"(?s)a → b.*5\.0e-01.*1e-04.*FAIL"):
        gate([result([0.0], [0.0]), result([0.0], [0.5])])


def test_the_table_says_what_the_windows_are():
    assert "1 (test)" in format_parity([result([0.0], [0.0], Tolerance())])


def test_random_windows_are_the_same_every_time():
    first, second = random_windows(TINY.spec, count=2), random_windows(TINY.spec, count=2)
    assert first.faces.shape == (2, 6, 96, 96, 3)
    assert (first.faces == second.faces).all()
    assert first.faces.std() > 50
