"""Assign an epoch's samples to one process's batches, step by step."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from istvt.data.windows.samples import init_worker


@dataclass(frozen=True)
class BatchPlan:
    """Decides which samples go into which batch, by these numbers alone.

    Real and fake of a pair are neighbours and every batch has even length, so pairs stay together.
    Samples that do not fill the last step wait for the next epoch's draw. If an epoch does not fill
    one step, its samples repeat within the step.

    Attributes:
        count: samples of the epoch.
        batch_size: samples per batch, an even number.
        accumulate: batches per step of each process.
        rank, world: this process's number, and the number of processes.
    """

    count: int
    batch_size: int
    accumulate: int = 1
    rank: int = 0
    world: int = 1

    @property
    def samples_per_step(self) -> int:
        """Samples of all processes in one step."""
        return self.batch_size * self.accumulate * self.world

    @property
    def steps(self) -> int:
        """Steps of the epoch."""
        return max(1, self.count // self.samples_per_step)

    def batches(self, *, first_step: int = 0) -> Iterator[list[int]]:
        """Yield this process's batches of all steps from `first_step` on, as sample positions."""
        for step in range(first_step, self.steps):
            for part in range(self.accumulate):
                chunk = (step * self.accumulate + part) * self.world + self.rank
                first = chunk * self.batch_size
                yield [(first + i) % self.count for i in range(self.batch_size)]


def load_batches(
    dataset: "Dataset[tuple[Tensor, Tensor]]",
    plan: BatchPlan,
    *,
    first_step: int = 0,
    workers: int = 0,
    pin_memory: bool = False,
) -> "DataLoader[tuple[Tensor, Tensor]]":
    """Read the batches of a plan, in loader processes if there are any."""
    return DataLoader(
        dataset,
        batch_sampler=list(plan.batches(first_step=first_step)),
        num_workers=workers,
        worker_init_fn=init_worker,
        pin_memory=pin_memory,
        generator=torch.Generator(),  # the loader's seed then does not come from the model's
    )
