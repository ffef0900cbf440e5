import pytest
import torch

from istvt.compute import find_device, true_fp32
from istvt.errors import BackendError, UsageError
from istvt.models.istvt.model import ISTVT
from istvt.training import precision as module
from istvt.training.distributed import find_own_device
from istvt.training.precision import (
    choose_precision,
    measure_step_s,
    settle_precision,
)
from tests.models.istvt.small import SMALL

CPU = torch.device("cpu")


def never(_):
    raise AssertionError("nothing had to be measured")


@pytest.mark.parametrize(("bf16_s", "expected"), [(0.5, "bf16"), (2.0, "fp32")])
def test_a_cpu_takes_bf16_only_where_it_is_faster(monkeypatch, bf16_s, expected):
    monkeypatch.setattr(module, "has_bf16", lambda: True)
    times = {"fp32": 1.0, "bf16": bf16_s}
    assert choose_precision("auto", CPU, step_s=times.__getitem__) == expected


def test_a_cpu_without_bf16_is_not_measured(monkeypatch):
    monkeypatch.setattr(module, "has_bf16", lambda: False)
    assert choose_precision("auto", CPU, step_s=never) == "fp32"


@pytest.mark.parametrize("has_bf16", [True, False])
def test_a_gpu_takes_the_half_format_it_has(monkeypatch, has_bf16):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: has_bf16)
    chosen = choose_precision("auto", torch.device("cuda"), step_s=never)
    assert chosen == ("bf16" if has_bf16 else "fp16")


def test_what_is_asked_for_is_taken_or_refused():
    assert choose_precision("bf16", CPU, step_s=never) == "bf16"
    with pytest.raises(UsageError, match="a CPU trains in"):
        choose_precision("fp16", CPU, step_s=never)
    with pytest.raises(UsageError, match="'int4'"):
        choose_precision("int4", CPU, step_s=never)


def test_measuring_leaves_the_model_as_it_was():
    model = ISTVT(SMALL)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert measure_step_s(model, CPU, "fp32") > 0
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_processes_that_train_together_do_not_measure(monkeypatch):
    monkeypatch.setattr(module, "measure_step_s", never)
    monkeypatch.setattr(module, "has_bf16", lambda: True)
    assert settle_precision("auto", CPU, ISTVT(SMALL), is_alone=False).precision == "fp32"


def test_a_device_that_is_not_there_is_an_error():
    assert find_device("cpu") == CPU
    with pytest.raises(BackendError, match="'abacus'"):
        find_device("abacus")


def test_fp32_is_not_rounded_to_tf32_and_the_setting_comes_back(monkeypatch):
    switches = torch.backends.cudnn, torch.backends.cuda.matmul
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)

    def allowed():
        return [switch.allow_tf32 for switch in switches]

    before = allowed()
    with true_fp32():
        assert allowed() == [False, False]
    assert allowed() == before


@pytest.fixture
def torchrun(monkeypatch):
    """Be the second of two processes that torchrun started, on two GPUs; give what CUDA is told."""
    for name, value in {"WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "RANK": 1, "LOCAL_RANK": 1}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "test")
    told = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda number: told.append(f"take {number}"))
    monkeypatch.setattr(torch, "empty", lambda *_, device: told.append(f"use {device}"))
    return told


@pytest.mark.parametrize("name", ["cuda", None])
def test_under_torchrun_each_process_takes_its_gpu_before_it_uses_one(torchrun, name):
    assert find_own_device(name) == torch.device("cuda")
    assert torchrun == ["take 1", "use cuda"]


def test_more_processes_than_gpus_are_refused_with_what_to_start(torchrun, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UsageError, match=r"2 processes .* there are 1: .* --nproc-per-node 1"):
        find_own_device("cuda")
    assert torchrun == []


def test_a_process_alone_takes_the_gpu_that_cuda_takes(torchrun, monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    find_own_device("cuda")
    assert torchrun == ["use cuda"]
