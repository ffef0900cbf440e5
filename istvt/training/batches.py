"""The samples of an epoch in, the batches of one process out, step by step."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from istvt.data.windows.samples import init_worker


@dataclass(frozen=True)
class BatchPlan:
    """Which samples go into which batch; what it gives depends on nothing but these numbers.

    Real and fake of a pair are neighbours and every batch is of even length, so a pair is never
    parted. Samples that do not fill the last step are left to the next epoch's draw; an epoch that
    does not fill one step starts anew within it.

    Attributes:
        count: samples of the epoch.
        batch_size: samples a batch, an even number.
        accumulate: batches a step of each process.
        rank, world: which process of how many.
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
        """Give this process's batches of all steps from one on, as positions of samples."""
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
    """Read the batches of a plan, in loader processes where there are any."""
    return DataLoader(
        dataset,
        batch_sampler=list(plan.batches(first_step=first_step)),
        num_workers=workers,
        worker_init_fn=init_worker,
        pin_memory=pin_memory,
        generator=torch.Generator(),  # the loader draws a seed from it, and not from the model's
    )
