"""Set up Lightning Fabric for one process, or for many started by torchrun.

Fabric neither starts processes, nor loads data or writes files. torchrun starts the processes. The
order of the windows and the checkpoints must be exact to the step.
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
    """Return whether this process is the one that prints and writes."""
    return not is_torchrun() or os.environ["RANK"] == "0"


def is_torchrun() -> bool:
    """Return whether torchrun started this process, with others beside it."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ["WORLD_SIZE"]) > 1


def count_processes() -> int:
    """Return how many processes train together."""
    return int(os.environ["WORLD_SIZE"]) if is_torchrun() else 1


def meet() -> None:
    """Wait for every process that trains together; a single process continues at once."""
    if not (dist.is_available() and dist.is_initialized()):
        return
    has_gpu = dist.get_backend() == "nccl"
    dist.barrier(device_ids=[torch.cuda.current_device()] if has_gpu else None)


def refuse_other_launchers() -> None:
    """Keep processes that are unaware of each other from writing the same run.

    Raises:
        UsageError: a launcher other than torchrun started several.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return
    several = [name for name in OTHER_COUNTS if os.environ.get(name, "1") not in ("", "1")]
    if several:
        raise UsageError(
            f"{several[0]} is {os.environ[several[0]]}, but torchrun did not start this process: "
            "several would write one run. Start them with `torchrun --nproc-per-node N -m istvt "
            f"train ...`, one torchrun per node, or unset {several[0]} to train in one process"
        )


def find_own_device(name: str | None = None) -> torch.device:
    """Find the device to train on; a process of torchrun takes the GPU with its number.

    Raises:
        BackendError: see `find_device`.
        UsageError: see `take_own_gpu`.
    """
    if is_torchrun() and name in (None, "cuda") and torch.cuda.is_available():
        take_own_gpu()
    return find_device(name)


def take_own_gpu() -> None:
    """Select the GPU with this process's number, before the process uses any.

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
        """The number of this process, from 0."""
        return int(self.fabric.global_rank)

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    @property
    def world(self) -> int:
        """The number of processes."""
        return int(self.fabric.world_size)

    @property
    def device(self) -> torch.device:
        """The device that this process computes on."""
        device: torch.device = self.fabric.device
        return device

    @contextmanager
    def first_goes_first(self) -> Iterator[None]:
        """Let the first process run the block alone, then the others; each may take hours.

        Raises:
            RuntimeEnvironmentError: the block failed in another process, which reports why.
        """
        if self.world == 1:
            yield
            return
        # A separate group: that of the training times out after minutes.
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
            with suppress(RuntimeError):  # another process has ended too: the first error matters
                _learn_of_failure(group, has_failed=True)
            raise
        _learn_of_failure(group)
        dist.destroy_process_group(group)

    def mean(self, *values: float) -> tuple[float, ...]:
        """Average numbers over the processes; all get the same result."""
        if self.world == 1:
            return values
        own = torch.tensor(values, dtype=torch.float64, device=self.device)
        mean: Any = self.fabric.all_reduce(own, reduce_op="mean")
        return tuple(mean.tolist())

    def share(self, count: int) -> range:
        """Return the positions that this process works on; together all take each once."""
        return range(self.rank, count, self.world)

    def gather(self, own: NDArray[np.float64], count: int) -> NDArray[np.float64]:
        """Combine the results of all processes, each for its `share`'s positions: `(count,)`."""
        if self.world == 1:
            return own
        together = torch.zeros(count, dtype=torch.float64, device=self.device)
        together[self.rank :: self.world] = torch.from_numpy(own)
        # A sum with zeros is exact in any order.
        whole: Any = self.fabric.all_reduce(together, reduce_op="sum")
        found: NDArray[np.float64] = whole.cpu().numpy()
        return found

    def refuse_different(self, digest: str, what: str) -> None:
        """Refuse processes with different data; all must call this, and all get the error.

        Args:
            digest: hexadecimal, of the same length everywhere.
            what: names the data that it covers.

        Raises:
            DataError: some process has another digest.
        """
        own = np.frombuffer(bytes.fromhex(digest), dtype=np.uint8).astype(np.float64)
        by_rank = self.gather(own, len(own) * self.world).reshape(len(own), self.world).T
        others = [rank for rank in range(self.world) if (by_rank[rank] != by_rank[0]).any()]
        if others:
            raise DataError(
                f"{what} are not the same in all {self.world} processes: those of rank "
                f"{', '.join(map(str, others))} differ from those of rank 0, as when a video "
                "could be read by one and not by another. Prepare the data first, with `istvt "
                "prepare`, and train on that folder"
            )


def join_processes(device: torch.device, precision: FloatPrecision) -> Processes:
    """Set up this process, and connect it to the others that torchrun started.

    Args:
        device: of a process started alone; those of torchrun take the GPU with their number, or the
            CPU if that is named.
        precision: of the forward passes.

    Raises:
        UsageError: torchrun's processes would share one named device.
        BackendError: Fabric does not support the device's kind.
    """
    fabric_package = require("lightning_fabric", extra="train")
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it prints its settings
    options: dict[str, Any] = {"precision": FABRIC_PRECISION[precision]}
    try:
        options |= _of_many(device) if is_torchrun() else _of_one(device)
        fabric = fabric_package.Fabric(accelerator=device.type, **options)
    except ValueError as error:
        raise BackendError(f"device {str(device)!r} cannot be trained on: {error}") from error
    fabric.launch()
    return Processes(fabric)


def _learn_of_failure(group: "dist.ProcessGroup", *, has_failed: bool = False) -> None:
    """Wait for all, and raise an error if another has failed, unless this one has failed too."""
    failed = torch.tensor([int(has_failed)])
    dist.all_reduce(failed, op=dist.ReduceOp.MAX, group=group)
    if failed.item() and not has_failed:
        raise OtherFailedError("another process of this training failed, and reports why")


def _of_one(device: torch.device) -> dict[str, Any]:
    """Keep Fabric from asking a cluster's scheduler for the number of processes."""
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
    # Gradients of 1x1 convolutions have another order of strides; they are copied, as intended.
    warnings.filterwarnings("ignore", message="Grad strides do not match")
    return {
        "devices": here,
        "num_nodes": all_of_them // here,
        "strategy": DDPStrategy(process_group_backend=backend),
        "plugins": [TorchElasticEnvironment()],
    }
