"""Two processes train as one with twice the batch does."""

import os
import signal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from istvt.data.dataset import DataRequest
from istvt.errors import DataError, RuntimeEnvironmentError, UsageError
from istvt.training.distributed import OTHER_COUNTS, Processes, refuse_other_launchers
from istvt.training.fit import Training, fit
from istvt.training.run.checkpoint import read_plan
from tests.training.runs import (
    CONFIG,
    RECIPE,
    assert_same_run,
    lay_out,
    metrics_of,
    scalars_of,
    start,
    start_together,
    told,
    train_command,
    train_together,
    wait_for,
)

# 7 windows of each of 5 validation videos do not divide by two.
OPTIONS = {
    "recipe": "modern",
    "epochs": 2,
    "batch_size": 4,
    "accumulate": 2,
    "ema_decay": 0.9,
    "augmentation": "mild",
    "precision": "fp32",
    "device": "cpu",
    "videos": 5,
    "checkpoint_every_s": 0.01,
}
TOLERANCE = 1e-5


@pytest.fixture
def folder(tmp_path):
    return lay_out(tmp_path)


@pytest.fixture
def together(folder):
    train_together(folder, folder / "two", OPTIONS, processes=2)
    return folder / "two"


def test_two_processes_do_what_one_does_with_twice_the_batch(folder, together):
    process = start(train_command, folder, folder / "one", OPTIONS | {"batch_size": 8})
    process.join(120)
    assert process.exitcode == 0, told(folder)
    one, two = scalars_of(folder / "one"), scalars_of(together)
    assert len(one) == len(two) > 4
    for line, other in zip(one, two, strict=True):
        assert line.keys() == other.keys()
        assert list(line.values()) == pytest.approx(list(other.values()), abs=TOLERANCE)
    of_one, of_two = (load_file(run / "last.safetensors") for run in (folder / "one", together))
    for name in of_one:
        if name.startswith(("model.", "average.")):
            torch.testing.assert_close(of_one[name], of_two[name], rtol=0, atol=TOLERANCE)
    for line, other in zip(metrics_of(folder / "one"), metrics_of(together), strict=True):
        assert line["val_windows"]["count"] == other["val_windows"]["count"]
        assert line["val_windows"]["auc"] == other["val_windows"]["auc"]
    assert read_plan(together).processes == 2
    assert told(folder).count("epoch 1:") == 2  # once for each run, not for each process


def test_two_processes_resume_to_the_same_bits(folder, together):
    run = folder / "broken"
    team = start_together(folder, run, OPTIONS, OPTIONS)
    wait_for((run / "metrics.jsonl").exists, team[0])
    for process in team:
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    train_together(folder, run, OPTIONS | {"resume": True}, processes=2)
    assert_same_run(run, together)
    process = start(train_command, folder, run, OPTIONS | {"resume": True})
    process.join(60)
    assert process.exitcode == UsageError.exit_code
    assert "was trained by 2 processes" in told(folder)


def test_processes_that_read_other_windows_are_all_refused(folder):
    team = start_together(folder, folder / "run", OPTIONS, OPTIONS | {"videos": 6})
    for process in team:
        process.join(60)
        process.kill()
    assert [process.exitcode for process in team] == [DataError.exit_code] * 2, told(folder)
    assert told(folder).count("those of rank 1 differ from those of rank 0") == 2
    assert not (folder / "run").exists()


@pytest.mark.parametrize(("rank", "fails_in"), [(0, "split"), (1, "split"), (0, "write_videos")])
def test_where_one_process_fails_the_other_ends_with_a_line(folder, rank, fails_in):
    options = [OPTIONS, OPTIONS]
    options[rank] = OPTIONS | {"fails_in": fails_in}
    team = start_together(folder, folder / "run", *options)
    for process in team:
        process.join(60)
        process.kill()
    codes = [process.exitcode for process in team]
    assert codes[rank] == DataError.exit_code, told(folder)
    assert codes[1 - rank] == RuntimeEnvironmentError.exit_code, told(folder)
    assert told(folder).count("error: made to fail") == 1
    assert told(folder).count("error: another process of this training failed") == 1
    assert "Traceback" not in told(folder)
    if (rank, fails_in) == (0, "split"):
        assert list(folder.glob("shards*")) == []  # the other one did not cut faces itself


@pytest.mark.parametrize("name", ["WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE"])
def test_several_processes_of_another_launcher_are_refused(tmp_path, monkeypatch, name):
    for other in ("TORCHELASTIC_RUN_ID", *OTHER_COUNTS):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, "1")
    refuse_other_launchers()
    monkeypatch.setenv(name, "2")
    with pytest.raises(UsageError, match=f"{name} is 2, but torchrun did not .* with `torchrun"):
        fit(DataRequest(lay_out(tmp_path)), tmp_path / "run", Training(CONFIG, RECIPE))
    assert not (tmp_path / "run").exists()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "test")
    refuse_other_launchers()


class FakeFabric:
    """Adds what the others have in their places."""

    device = torch.device("cpu")

    def __init__(self, rank, parts):
        self.global_rank, self.world_size, self.parts = rank, len(parts), parts

    def all_reduce(self, own, *, reduce_op):
        assert reduce_op == "sum"
        total = own.clone()
        for rank, part in enumerate(self.parts):
            if rank != self.global_rank:
                total[rank :: self.world_size] += torch.from_numpy(part)
        return total


@pytest.mark.parametrize("count", [1, 2, 7, 9])
def test_what_is_gathered_is_whole_and_in_order(count):
    values = np.arange(count, dtype=np.float64)
    parts = [values[rank::3] for rank in range(3)]
    for rank in range(3):
        processes = Processes(FakeFabric(rank, parts))
        assert values[processes.share(count)].tolist() == parts[rank].tolist()
        assert processes.gather(parts[rank], count).tolist() == values.tolist()


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_each_process_is_told_which_one_differs(rank):
    digests = ["00ff" * 16, "00ff" * 16, "00ff" * 15 + "00fe"]
    parts = [np.frombuffer(bytes.fromhex(one), np.uint8).astype(np.float64) for one in digests]
    same, other = (Processes(FakeFabric(rank, p)) for p in ([parts[0]] * 3, parts))
    same.refuse_different(digests[0], "the windows")
    with pytest.raises(DataError, match="in all 3 processes: those of rank 2 differ"):
        other.refuse_different(digests[rank], "the windows")
