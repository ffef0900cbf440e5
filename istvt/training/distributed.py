"""One process or many, started by torchrun: Lightning Fabric set up for either.

Fabric is not asked to start processes, nor to load data or write files: torchrun does the first,
and the order of the windows and the checkpoints have to be exact to the step.
"""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from istvt.compute import find_device
from istvt.errors import BackendError, DataError, RuntimeEnvironmentError, UsageError
from istvt.extras import require
from istvt.records import FloatPrecision

if TYPE_CHECKING:
    from lightning_fabric import Fabric

OTHER_COUNTS = ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")  # torch, srun, mpirun
FABRIC_PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
PATIENCE = timedelta(days=1000)  # with a process that prepares a data set


def is_first_process() -> bool:
    """Say whether this process is the one that prints and writes."""
    return not is_torchrun() or os.environ["RANK"] == "0"


def is_torchrun() -> bool:
    """Say whether torchrun started this process, with others beside it."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ["WORLD_SIZE"]) > 1


def count_processes() -> int:
    """Say how many train together."""
    return int(os.environ["WORLD_SIZE"]) if is_torchrun() else 1


def meet() -> None:
    """Wait until every process that trains together has come here; one alone goes on."""
    if not (dist.is_available() and dist.is_initialized()):
        return
    has_gpu = dist.get_backend() == "nccl"
    dist.barrier(device_ids=[torch.cuda.current_device()] if has_gpu else None)


def refuse_other_launchers() -> None:
    """Keep processes that know nothing of each other from writing one run.

    Raises:
        UsageError: something else than torchrun started several.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return
    several = [name for name in OTHER_COUNTS if os.environ.get(name, "1") not in ("", "1")]
    if several:
        raise UsageError(
            f"{several[0]} is {os.environ[several[0]]}, but torchrun did not start this process: "
            "several would write one run. Start them with `torchrun --nproc-per-node N -m istvt "
            f"train ...`, one torchrun a node, or unset {several[0]} to train in one process"
        )


def find_own_device(name: str | None = None) -> torch.device:
    """Find the device to train on; a process of torchrun takes the GPU of its number.

    Raises:
        BackendError: see `find_device`.
        UsageError: see `take_own_gpu`.
    """
    if is_torchrun() and name in (None, "cuda") and torch.cuda.is_available():
        take_own_gpu()
    return find_device(name)


def take_own_gpu() -> None:
    """Make the GPU of this process's number the one that it computes on, before it uses any.

    Raises:
        BackendError: the GPU cannot be used.
        UsageError: there are fewer GPUs than processes on this machine.
    """
    here, gpus = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
    if here > gpus:
        raise UsageError(
            f"torchrun started {here} processes here, each takes a GPU, and there are {gpus}: "
            f"start it with --nproc-per-node {gpus}, or train with --device cpu"
        )
    number = int(os.environ["LOCAL_RANK"])
    try:
        torch.cuda.set_device(number)
    except RuntimeError as error:
        raise BackendError(f"GPU {number} cannot be used here: {error}") from error


class OtherFailedError(RuntimeEnvironmentError):
    """A process that trains with this one has failed."""


@dataclass(frozen=True, eq=False)
class Processes:
    """The processes of a training, seen from one of them."""

    fabric: "Fabric"

    @property
    def rank(self) -> int:
        """Which process this is, from 0."""
        return int(self.fabric.global_rank)

    @property
    def is_first(self) -> bool:
        """Say whether this is the one that writes."""
        return self.rank == 0

    @property
    def world(self) -> int:
        """How many there are."""
        return int(self.fabric.world_size)

    @property
    def device(self) -> torch.device:
        """Where this one computes."""
        device: torch.device = self.fabric.device
        return device

    @contextmanager
    def first_goes_first(self) -> Iterator[None]:
        """Let the first process run the block alone, then the others; each may take hours.

        Raises:
            RuntimeEnvironmentError: the block failed in another process, which tells why.
        """
        if self.world == 1:
            yield
            return
        # A group of its own: that of the training gives up after minutes.
        group = dist.new_group(backend="gloo", timeout=PATIENCE)
        try:
            if not self.is_first:
                _learn_of_failure(group)
            yield
            if self.is_first:
                _learn_of_failure(group)
        except OtherFailedError:
            raise
        except BaseException:
            with suppress(RuntimeError):  # another one is gone already: what ended this one matters
                _learn_of_failure(group, has_failed=True)
            raise
        _learn_of_failure(group)
        dist.destroy_process_group(group)

    def mean(self, *values: float) -> tuple[float, ...]:
        """Average numbers over the processes; all get the same."""
        if self.world == 1:
            return values
        own = torch.tensor(values, dtype=torch.float64, device=self.device)
        mean: Any = self.fabric.all_reduce(own, reduce_op="mean")
        return tuple(mean.tolist())

    def share(self, count: int) -> range:
        """Give the positions that this process works on; all processes together take each once."""
        return range(self.rank, count, self.world)

    def gather(self, own: NDArray[np.float64], count: int) -> NDArray[np.float64]:
        """Put together what each process found at the positions of its `share`, `(count,)`."""
        if self.world == 1:
            return own
        together = torch.zeros(count, dtype=torch.float64, device=self.device)
        together[self.rank :: self.world] = torch.from_numpy(own)
        # A sum with zeros is exact, in whatever order.
        whole: Any = self.fabric.all_reduce(together, reduce_op="sum")
        found: NDArray[np.float64] = whole.cpu().numpy()
        return found

    def refuse_different(self, digest: str, what: str) -> None:
        """See that all processes have the same; each of them calls this, and learns of it.

        Args:
            digest: hexadecimal, of one length everywhere.
            what: it sums up.

        Raises:
            DataError: some process has another one.
        """
        own = np.frombuffer(bytes.fromhex(digest), dtype=np.uint8).astype(np.float64)
        by_rank = self.gather(own, len(own) * self.world).reshape(len(own), self.world).T
        others = [rank for rank in range(self.world) if (by_rank[rank] != by_rank[0]).any()]
        if others:
            raise DataError(
                f"{what} are not the same in all {self.world} processes: of rank "
                f"{', '.join(map(str, others))} they differ from those of rank 0, as when a video "
                "could be read by one and not by another. Prepare the data first, with `istvt "
                "prepare`, and train on that folder"
            )


def join_processes(device: torch.device, precision: FloatPrecision) -> Processes:
    """Set up this process, and meet the others that torchrun started.

    Args:
        device: of a process started alone; those of torchrun take the GPU of their number, or the
            CPU where that is named.
        precision: of the forward passes.

    Raises:
        UsageError: torchrun's processes are to share one named device.
        BackendError: the device is of a kind that Fabric does not know.
    """
    fabric_package = require("lightning_fabric", extra="train")
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it prints what it is given
    options: dict[str, Any] = {"precision": FABRIC_PRECISION[precision]}
    try:
        options |= _of_many(device) if is_torchrun() else _of_one(device)
        fabric = fabric_package.Fabric(accelerator=device.type, **options)
    except ValueError as error:
        raise BackendError(f"device {str(device)!r} cannot be trained on: {error}") from error
    fabric.launch()
    return Processes(fabric)


def _learn_of_failure(group: "dist.ProcessGroup", *, has_failed: bool = False) -> None:
    """Wait for all, and learn whether one has failed; one that has is not told of it again."""
    failed = torch.tensor([int(has_failed)])
    dist.all_reduce(failed, op=dist.ReduceOp.MAX, group=group)
    if failed.item() and not has_failed:
        raise OtherFailedError("another process of this training failed, and tells why")


def _of_one(device: torch.device) -> dict[str, Any]:
    """Keep Fabric from asking a cluster's scheduler how many processes there are."""
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment

    one: Any = 1 if device.type == "cpu" else [device.index or 0]
    return {"devices": one, "strategy": "auto", "plugins": [LightningEnvironment()]}


def _of_many(device: torch.device) -> dict[str, Any]:
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
    from lightning_fabric.strategies.ddp import DDPStrategy

    if device.index is not None:
        raise UsageError(
            f"device is {str(device)!r}: with torchrun each process takes its own, name the kind "
            f"only: {device.type!r}"
        )
    here, all_of_them = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    backend = "nccl" if device.type == "cuda" else "gloo"
    # Gradients of 1x1 convolutions come in another order of strides; they are copied, as is right.
    warnings.filterwarnings("ignore", message="Grad strides do not match")
    return {
        "devices": here,
        "num_nodes": all_of_them // here,
        "strategy": DDPStrategy(process_group_backend=backend),
        "plugins": [TorchElasticEnvironment()],
    }
