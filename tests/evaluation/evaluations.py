"""Evaluations of videos that no model ever saw."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from istvt.data.layouts.manifest import Label, Skipped, Video
from istvt.evaluation.evaluate import Evaluation, VideoScore
from istvt.evaluation.metrics import measure

ROOT = Path("set")


def real(number: int, *people: str) -> Video:
    return Video(ROOT / "real" / f"{number}.mp4", Label.REAL, "test", identities=people)


def fake(number: int, *people: str, method: str = "", source: int | None = None) -> Video:
    return Video(
        ROOT / "fake" / f"{method}{number}.mp4",
        Label.FAKE,
        "test",
        identities=people,
        method=method,
        source=None if source is None else ROOT / "real" / f"{source}.mp4",
    )


def evaluation(
    videos: Sequence[Video],
    probabilities: Sequence[Sequence[float]],
    *,
    blended: Sequence[bool] | None = None,
    skipped: tuple[Skipped, ...] = (),
) -> Evaluation:
    """Put one together from the probabilities of each video's windows."""
    flags = blended or [False] * len(videos)
    scores = tuple(
        VideoScore(video, flag, float(np.mean(own)), len(own))
        for video, flag, own in zip(videos, flags, probabilities, strict=True)
    )
    of_window = np.repeat(np.arange(len(videos)), [len(own) for own in probabilities])
    labels = np.array([score.label for score in scores])
    flat = np.concatenate([np.array(own, float) for own in probabilities])
    return Evaluation(
        split="test",
        loss=0.25,
        windows=measure(labels[of_window], flat),
        videos=measure(labels, [score.fake_probability for score in scores]),
        scores=scores,
        video_of_window=of_window,
        fake_probabilities=flat,
        skipped=skipped,
    )
