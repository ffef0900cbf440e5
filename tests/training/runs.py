"""Trainings that take seconds, on made-up faces, in this process or in others."""

import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from istvt.commands import train as command
from istvt.console import run_and_exit
from istvt.data.dataset import DataSet
from istvt.data.layouts.manifest import Label, Skipped
from istvt.data.windows.index import SplitWindows
from istvt.errors import DataError
from istvt.presets import TINY, CropRecipe, ModelConfig
from istvt.training import fit as fit_module
from istvt.training.run.recipe import TrainRecipe
from tests.data.faces import write_windows

SIZE_PX = 32
PRESET = replace(
    TINY,
    image_size=SIZE_PX,
    num_frames=3,
    embed_dim=32,
    depth=1,
    num_heads=2,
    head_dim=16,
    encoder_widths=(8, 8, 16, 16),
)
CONFIG = ModelConfig(PRESET, CropRecipe(SIZE_PX))
RECIPE = TrainRecipe(
    optimizer="adamw", lr=3e-3, epochs=3, batch_size=8, windows_per_video=4, precision="fp32"
)
# Each process is a fork of one that has imported all of it.
PROCESSES = get_context("forkserver")
PROCESSES.set_forkserver_preload(["lightning_fabric", "istvt.training.fit", __name__])


def make_split(folder: Path, split: str, *, labels_tell=True, videos=8, **facts) -> SplitWindows:
    """Noise everywhere; a fake has a brighter middle, if the labels tell anything."""
    rng = np.random.default_rng(len(split))
    refs = []
    for number in range(videos):
        label = Label(number % 2)
        crops = rng.integers(60, 180, (8, SIZE_PX, SIZE_PX, 3), dtype=np.uint8)
        if label if labels_tell else rng.random() < 0.5:
            crops[:, 10:22, 10:22] += 60
        path = Path(split) / f"{number}.mp4"
        refs.append(
            write_windows(folder, path, crops, num_frames=3, label=label, split=split, **facts)
        )
    return SplitWindows(split, tuple(refs), (Skipped(Path("broken.mp4"), "cut short"),))


def lay_out(folder: Path) -> Path:
    """Write files of different content where videos are looked for; what they show is made up."""
    for split in ("train", "val"):
        for kind in ("real", "fake"):
            path = folder / split / kind / "a.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{split} {kind}")
    return folder


def start(target: Callable[..., None], *args: Any) -> BaseProcess:
    """Start a process that runs a function of a test module."""
    process = PROCESSES.Process(target=target, args=args)
    process.start()
    return process


def train_command(folder: Path, run: Path, options: dict[str, Any], rank_of: Any = None) -> None:
    """Be `istvt train`, alone or as one process of torchrun, with its exit code.

    Args:
        rank_of: (rank, processes, port), or None.
    """
    if rank_of is not None:
        rank, world, port = rank_of
        names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "test"}
        os.environ.update({name: str(value) for name, value in (names | where).items()})
    torch.set_num_threads(1)
    videos, fails_in = options.pop("videos", 8), options.pop("fails_in", None)

    def load(data, split):
        shards = folder / f"shards{os.getpid()}"  # processes write at the same time
        shards.mkdir(exist_ok=True)
        return make_split(shards, split, videos=videos)

    def fail(*_, **__):
        raise DataError("made to fail")

    DataSet.split = load
    if fails_in is not None:
        setattr(DataSet if fails_in == "split" else fit_module, fails_in, fail)
    command.preset_named = lambda name: PRESET
    with (folder / "told.txt").open("a") as told:
        os.dup2(told.fileno(), 2)
        run_and_exit(lambda **_: command.train(folder, run, preset="small", **options))


def start_together(folder: Path, run: Path, *options: dict[str, Any]) -> list[BaseProcess]:
    """Be torchrun: start one process for each of the options."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [
        start(train_command, folder, run, dict(its), (rank, len(options), port))
        for rank, its in enumerate(options)
    ]


def train_together(folder: Path, run: Path, options: dict[str, Any], *, processes: int) -> None:
    """Be torchrun, and see that all end well."""
    team = start_together(folder, run, *[options] * processes)
    for process in team:
        process.join(120)
    assert [process.exitcode for process in team] == [0] * processes, told(folder)


def told(folder: Path) -> str:
    """Read what the commands wrote to standard error."""
    return (folder / "told.txt").read_text()


def wait_for(condition: Callable[[], bool], process: BaseProcess, *, limit_s: float = 60) -> None:
    """Wait until something is so, or the process has ended."""
    end_s = time.monotonic() + limit_s
    while not condition() and process.is_alive() and time.monotonic() < end_s:
        time.sleep(0.005)


def metrics_of(run: Path) -> list[dict[str, Any]]:
    """Read the metrics, without the times."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        del line["elapsed_s"]
    return lines


def scalars_of(run: Path) -> list[dict[str, Any]]:
    """Read the numbers of each step."""
    return [json.loads(line) for line in (run / "scalars.jsonl").read_text().splitlines()]


def assert_same_run(run: Path, other: Path) -> None:
    """Compare two runs to the bit; times may differ."""
    assert metrics_of(run) == metrics_of(other)
    assert scalars_of(run) == scalars_of(other)
    assert (run / "weights.safetensors").read_bytes() == (
        other / "weights.safetensors"
    ).read_bytes()
    states = [load_file(folder / "last.safetensors") for folder in (run, other)]
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert value.equal(states[1][name]), name
