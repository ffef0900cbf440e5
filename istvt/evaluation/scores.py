"""Score windows, each with one logit, in one process or shared by several."""

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
        windows_per_video: evenly spread; None takes all.
        fakes: "real" takes the data's; "self-blended" makes one of each real window.
        blend: how self-blended fakes are made; None takes the subtle preset.
        batch_size: windows a batch.
        precision: of the forward pass.
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
    """The processes that share a measurement out; each calls the same, and gets the same."""

    def share(self, count: int) -> range:
        """Give the positions of this process; each position is in one process's share."""

    def gather(self, own: Doubles, count: int) -> Doubles:
        """Put the numbers of all shares in order of their positions, `(count,)`."""


class Alone:
    """One process takes it all."""

    def share(self, count: int) -> range:
        """Give every position."""
        return range(count)

    def gather(self, own: Doubles, count: int) -> Doubles:
        """Give back what is whole already."""
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
    """Give the logit of each window, `(n,)`; the model is left in evaluation mode.

    Args:
        model: itself, not a wrapper that would wait for the other processes at each batch.
        samples: the same in every process.
        scoring: how to read and score them; they are chosen already.
        team: who shares the work; None does it alone.
        stage: named to `progress`.
        progress: told the stage and the windows done and to do in this process.
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
        generator=torch.Generator(),  # its seeds are not drawn from those of a training around it
    )
    own = [torch.empty(0, dtype=torch.float64)]
    for done, (faces, _) in enumerate(loader, start=1):
        with true_fp32(), autocast(device, scoring.precision):
            own.append(model(faces.to(device, non_blocking=True)).double().cpu())
        progress(stage, min(done * scoring.batch_size, len(share)), len(share))
    return members.gather(torch.cat(own).numpy(), len(samples))


def sigmoid(logits: Doubles) -> Doubles:
    """Turn logits into fake probabilities; a large one overflows nothing."""
    return np.exp(-np.logaddexp(0.0, -logits))
