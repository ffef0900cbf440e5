"""The exported model on each GPU backend: its promises, what it says, and its memory."""

import os
from importlib.util import find_spec

import pytest

from gpu_check.engines import (
    SUBJECTS,
    Subject,
    open_exported,
    open_subject,
    prepare,
    read_window_record,
)
from gpu_check.latency import check_turns
from gpu_check.subject import (
    SETTINGS_VARIABLE,
    CannotRunError,
    Settings,
    allowed_error,
    describe_parity,
    make_windows,
)
from tests.gpu.conformance import NUM_WINDOWS, broken_promises
from tests.gpu.memory import ALLOWED_MIB, measure_growth


def over(*subjects: Subject) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "subject", subjects, ids=lambda one: f"{one.name} {one.precision}", scope="module"
    )


@pytest.fixture(scope="module")
def scorer(settings: Settings, subject: Subject):
    if SETTINGS_VARIABLE not in os.environ:  # else a row builds, or says why not
        prepare(settings, subject)
    with open_subject(settings, subject) as scorer:
        yield scorer


@over(*SUBJECTS)
def test_logits(scorer, settings, subject, record_property):
    parity = check_turns(settings, scorer, batch=1)
    record_property("value", parity.max_abs_logit)
    record_property("mean_abs_logit", parity.mean_abs_logit)
    assert not describe_parity(parity)


@over(*SUBJECTS)
def test_promises(scorer, settings, subject):
    preset = settings.preset
    count = preset.num_frames + NUM_WINDOWS - 1
    windows = make_windows(preset, count=-(-count // preset.num_frames), seed=1)
    faces = windows.reshape(-1, *windows.shape[2:])[:count]
    limit = allowed_error(scorer.info.precision, settings.device)
    assert broken_promises(scorer, faces, tolerance=limit) == []


@over(*SUBJECTS)
def test_memory_does_not_fill_up(scorer, settings, subject, record_property):
    """In TensorRT 11 each change of a shape may leave a plugin's code behind."""
    import torch

    record = read_window_record(open_exported(settings, subject.precision), subject.backend)
    if record is None or not record.plugins:
        raise CannotRunError("its engine has no plugin")
    grown_mib = measure_growth(scorer, lambda: torch.cuda.mem_get_info()[0])
    record_property("value", min(grown_mib))
    record_property("unit", "MiB")
    assert min(grown_mib) <= ALLOWED_MIB


@over(Subject("torch", "fp16"), Subject("torch", "bf16"))
def test_our_kernels_run_where_triton_is(scorer, subject):
    if find_spec("triton") is None:
        raise CannotRunError("Triton is not installed")
    assert scorer.is_fused
