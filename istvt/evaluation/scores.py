"""Compute one logit per window, in one process or several."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Subset

from istvt.compute import autocast, true_fp32
from istvt.data.synthetic.blend import SelfBlend
from istvt.data.windows.samples import Sample, WindowDataset, init_worker
from istvt.evaluation.metrics import Doubles
from istvt.models.base import VideoModel
from istvt.records import Fakes, FloatPrecision, Progress, ignore


@dataclass(frozen=True)
class Scoring:
    """How the windows of a split are chosen and scored.

    Attributes:
        windows_per_video: how many, evenly spread; None scores all.
        fakes: "real" uses the data's; "self-blended" makes one from each real window.
        blend: how self-blended fakes are made; None uses the subtle preset.
        batch_size: windows per batch.
        precision: the forward pass's.
        workers: processes that read windows; 0 reads in this one.
    """

    windows_per_video: int | None = None
    fakes: Fakes = "real"
    blend: SelfBlend | None = None
    batch_size: int = 16
    precision: FloatPrecision = "fp32"
    workers: int = 0


DEFAULT = Scoring()


class Team(Protocol):
    """The processes that share a measurement; all make the same calls and get the same result."""

    def share(self, count: int) -> range:
        """Return the positions of this process; each position belongs to one process."""

    def gather(self, own: Doubles, count: int) -> Doubles:
        """Collect the numbers of all processes in order of position, `(count,)`."""


class Alone:
    """A team of one process."""

    def share(self, count: int) -> range:
        """Return every position."""
        return range(count)

    def gather(self, own: Doubles, count: int) -> Doubles:
        """Return the numbers, which are complete already."""
        return own


@torch.no_grad()
def score_logits(
    model: VideoModel,
    samples: Sequence[Sample],
    scoring: Scoring = DEFAULT,
    *,
    team: Team | None = None,
    stage: str = "score",
    progress: Progress = ignore,
) -> Doubles:
    """Return the logit of each window, `(n,)`, and leave the model in evaluation mode.

    Args:
        model: unwrapped, since a wrapper would wait for the other processes at each batch.
        samples: the chosen windows, the same in every process.
        scoring: how to read and score them.
        team: the processes that share the work; None is this one.
        stage: passed to `progress`.
        progress: called with the stage, and this process's finished and total windows.
    """
    model.eval()
    device, members = next(model.parameters()).device, team or Alone()
    share = members.share(len(samples))
    loader = DataLoader(
        Subset(WindowDataset(samples, blend=scoring.blend), share),
        batch_size=scoring.batch_size,
        num_workers=scoring.workers,
        worker_init_fn=init_worker,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),  # draws no seeds from a surrounding training
    )
    own = [torch.empty(0, dtype=torch.float64)]
    for done, (faces, _) in enumerate(loader, start=1):
        with true_fp32(), autocast(device, scoring.precision):
            own.append(model(faces.to(device, non_blocking=True)).double().cpu())
        progress(stage, min(done * scoring.batch_size, len(share)), len(share))
    return members.gather(torch.cat(own).numpy(), len(samples))


def sigmoid(logits: Doubles) -> Doubles:
    """Turn logits into fake probabilities without overflow."""
    return np.exp(-np.logaddexp(0.0, -logits))
