"""A trained model and a split in, how well it parts fakes from reals out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from istvt.data.crops import Progress
from istvt.data.manifest import Skipped
from istvt.data.windows import SplitWindows, WindowDataset, WindowRef, load_split, spread
from istvt.model.istvt import ISTVT
from istvt.presets import ModelConfig
from istvt.training.metrics import Metrics, mean_per_video, measure
from istvt.training.precision import autocast, find_device, true_fp32
from istvt.training.recipe import Precision


@dataclass(frozen=True)
class Evaluation:
    """What was measured on a split.

    Attributes:
        windows, videos: the metrics; a video's score is the mean of its windows'.
        fake_probabilities: of each video that has windows.
        skipped: videos that gave none, or were read in part, with the reason.
    """

    split: str
    windows: Metrics
    videos: Metrics
    fake_probabilities: tuple[tuple[Path, float], ...]
    skipped: tuple[Skipped, ...]


def evaluate(
    data: Path,
    model: ISTVT,
    config: ModelConfig,
    *,
    split: str = "test",
    cache: Path | None = None,
    windows_per_video: int | None = None,
    batch_size: int = 16,
    device: str | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Score a split of a plain data folder in fp32.

    Args:
        data: laid out as `{train,val,test}/{real,fake}/*`.
        model: moved to the device and put into evaluation mode.
        config: the model's; fixes crop, sampling and T.
        split: one of the three.
        cache: the folder of crops; None takes one inside `data`.
        windows_per_video: evenly spread; None takes all.
        batch_size: windows a batch.
        device: None takes a GPU where there is one.
        progress: told ("faces in SPLIT" or "score SPLIT", done, total).

    Raises:
        DataError: the layout is wrong, or a class is left without a window.
    """
    windows = load_split(data, split, config, cache=cache, progress=progress)
    model = model.to(find_device(device))
    return evaluate_windows(
        model, windows, windows_per_video, batch_size=batch_size, progress=progress
    )


def evaluate_windows(
    model: ISTVT,
    windows: SplitWindows,
    windows_per_video: int | None,
    *,
    batch_size: int = 16,
    precision: Precision = "fp32",
    workers: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Score windows that are already cut; see `evaluate`."""
    refs = spread(windows, windows_per_video)
    scores = score_windows(
        model,
        refs,
        batch_size=batch_size,
        precision=precision,
        workers=workers,
        stage=f"score {windows.split}",
        progress=progress,
    )
    keys = [ref.video.path for ref in refs]
    labels = [ref.label for ref in refs]
    video_labels, video_scores = mean_per_video(keys, labels, scores)
    return Evaluation(
        split=windows.split,
        windows=measure(labels, scores),
        videos=measure(video_labels, video_scores),
        fake_probabilities=tuple(zip(dict.fromkeys(keys), video_scores.tolist(), strict=True)),
        skipped=windows.skipped,
    )


@torch.no_grad()
def score_windows(
    model: ISTVT,
    refs: Sequence[WindowRef],
    *,
    batch_size: int = 16,
    precision: Precision = "fp32",
    workers: int = 0,
    stage: str = "score",
    progress: Progress | None = None,
) -> NDArray[np.float64]:
    """Give the fake probability of each window, `(n,)`; the model is left in evaluation mode."""
    model.eval()
    device = next(model.parameters()).device
    loader = DataLoader(WindowDataset(refs), batch_size=batch_size, num_workers=workers)
    logits: list[torch.Tensor] = []
    for done, (faces, _) in enumerate(loader, start=1):
        with true_fp32(), autocast(device, precision):
            logits.append(model(faces.to(device)).double().cpu())
        if progress is not None:
            progress(stage, min(done * batch_size, len(refs)), len(refs))
    scores: NDArray[np.float64] = torch.cat(logits).sigmoid().numpy()
    return scores
