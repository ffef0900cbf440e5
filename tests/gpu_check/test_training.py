"""Losses in bf16 are near those in fp32; those of a training that moves nothing are not."""

import math

import pytest

from gpu_check import subject
from gpu_check.subject import Settings
from tests.gpu.steps import ALLOWED_LOSS, make_step, worst_difference
from tests.models.istvt.small import SMALL

SETTINGS = Settings(device="cpu", preset_name="tiny", work="", seconds=0.01)

pytest.importorskip("lightning_fabric")


def test_right_steps_pass():
    assert 4 * worst_difference(SETTINGS) < ALLOWED_LOSS


def test_steps_that_move_nothing_do_not(monkeypatch):
    from istvt.training import step

    class Still(step.Stepper):
        def step(self, batches):
            self._first = getattr(self, "_first", None) or super().step(batches)
            return self._first

    kinds = iter([Still, step.Stepper])
    monkeypatch.setattr(step, "Stepper", lambda *rest, **named: next(kinds)(*rest, **named))
    assert worst_difference(SETTINGS) > 2 * ALLOWED_LOSS


def test_checkpoints_change_no_loss(monkeypatch):
    monkeypatch.setattr(subject, "preset_named", lambda name: SMALL)
    plain, saving = (make_step(SETTINGS, batch=2, checkpoints=is_on) for is_on in (False, True))
    for _ in range(3):
        loss = plain()
        assert math.isfinite(loss)
        assert saving() == pytest.approx(loss, abs=1e-3)
