"""A training that is killed or stopped, and resumed, ends where an unbroken one does."""

import os
import random
import shutil
import signal
import time

import pytest

from istvt.lock import LOCK_FILE
from tests.training.runs import (
    assert_same_run,
    lay_out,
    metrics_of,
    scalars_of,
    start,
    told,
    train_command,
    wait_for,
)

# Everything that has a state: moments, average, warm-up, falling rate, best epoch, patience.
OPTIONS = {
    "recipe": "modern",
    "epochs": 4,
    "batch_size": 4,
    "accumulate": 2,
    "ema_decay": 0.9,
    "augmentation": "mild",
    "windows_per_video": 4,
    "precision": "fp32",
    "patience": 3,
    "monitor": "loss",
    "checkpoint_every_s": 0.02,
    "device": "cpu",
    "videos": 16,
}
KILLS, STARTS = 3, 15


@pytest.fixture
def folder(tmp_path):
    return lay_out(tmp_path)


def run_to_end(folder, run, **options):
    process = start(train_command, folder, run, OPTIONS | options)
    process.join(120)
    assert process.exitcode == 0, told(folder)


def kill_at_random(folder, run, rng):
    """Start or resume a run, kill it soon after it wrote a state, and say whether it lived yet."""
    last = run / "last.safetensors"
    before = last.stat().st_mtime_ns if last.exists() else 0
    process = start(train_command, folder, run, OPTIONS | {"resume": last.exists()})
    wait_for(lambda: last.exists() and last.stat().st_mtime_ns > before, process)
    time.sleep(rng.uniform(0, 0.4))
    process.kill()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL), told(folder)
    return process.exitcode == -signal.SIGKILL


@pytest.fixture
def unbroken(folder):
    run_to_end(folder, folder / "unbroken")
    return folder / "unbroken"


@pytest.mark.parametrize("seed", [0])
def test_killed_at_three_random_moments(folder, unbroken, seed):
    rng, run, kills = random.Random(seed), folder / "killed", 0
    for _ in range(STARTS):
        kills = kills + 1 if kill_at_random(folder, run, rng) else 0
        if kills == KILLS:
            break
        if kills == 0:
            shutil.rmtree(run)  # it ended before the moment came: begin anew
    assert kills == KILLS, f"{STARTS} starts, and never {KILLS} kills of one run"
    run_to_end(folder, run, resume=True)
    assert_same_run(run, unbroken)
    steps = [line["step"] for line in scalars_of(run) if "train/loss" in line]
    assert steps == list(range(1, len(steps) + 1))
    assert [path.name for path in run.glob(".*")] == [LOCK_FILE]


@pytest.mark.parametrize(("number", "wait_s"), [(signal.SIGTERM, 0.1), (signal.SIGINT, 0.3)])
def test_a_signal_ends_it_after_the_step_with_the_command_to_go_on(
    folder, unbroken, number, wait_s
):
    run = folder / "stopped"
    process = start(train_command, folder, run, OPTIONS)
    wait_for((run / "last.safetensors").exists, process)
    time.sleep(wait_s)
    os.kill(process.pid, number)
    process.join(30)
    assert process.exitcode == 130, told(folder)
    assert "nothing is lost, continue with:" in told(folder)
    assert f"istvt train {folder} --out {run} --resume" in told(folder)
    assert len(metrics_of(run) if (run / "metrics.jsonl").exists() else []) < OPTIONS["epochs"]
    run_to_end(folder, run, resume=True)
    assert_same_run(run, unbroken)
