"""Measure how well a trained model separates the fakes of a split from its real videos."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from istvt.compute import find_device, gpu_errors
from istvt.data.dataset import DataRequest, open_data
from istvt.data.layouts.ffpp import compressions_of
from istvt.data.layouts.manifest import Skipped, Video
from istvt.data.prepared.folder import Prepared, digest_of_entries
from istvt.data.prepared.shards import VideoFaces
from istvt.data.windows.index import SplitWindows, windows_in
from istvt.data.windows.samples import Sample, held_out_samples
from istvt.evaluation.metrics import Doubles, Metrics, mean_per_video, measure
from istvt.evaluation.scores import DEFAULT, Scoring, Team, score_logits, sigmoid
from istvt.models.base import VideoModel
from istvt.presets import ModelConfig
from istvt.records import Progress, ignore

__all__ = ["EvaluatedData", "Evaluation", "VideoScore", "evaluate", "evaluate_windows", "judge"]


@dataclass(frozen=True)
class VideoScore:
    """The score of one video.

    Attributes:
        is_blended: whether its windows were blended with themselves, which makes it a fake.
        fake_probability: mean over its windows.
        windows: the number of scored windows.
    """

    video: Video
    is_blended: bool
    fake_probability: float
    windows: int

    @property
    def label(self) -> int:
        """1 for fake."""
        return 1 if self.is_blended else int(self.video.label)

    @property
    def method(self) -> str:
        """How the fake was made; empty if it is real or the method is unknown."""
        return "self-blended" if self.is_blended else self.video.method


@dataclass(frozen=True, eq=False)
class EvaluatedData:
    """The measured data, so that figures can be compared with others.

    Attributes:
        root: the data set's folder when it was prepared.
        layout: how it was read.
        compressions: FaceForensics++'s; empty for others.
        methods: of the scored fakes, if named.
        notes: omitted videos and other warnings.
        digest: of the split's faces and labels, see `digest_of_entries`.
        videos: those that have windows.
    """

    root: Path
    layout: str
    compressions: tuple[str, ...]
    methods: tuple[str, ...]
    notes: tuple[str, ...]
    digest: str
    videos: tuple[VideoFaces, ...]

    @classmethod
    def of(cls, prepared: Prepared, windows: SplitWindows) -> "EvaluatedData":
        """Describe the windows of a prepared split."""
        manifest = prepared.manifest
        faces = tuple(one.faces for one in windows.videos)
        videos = [one.video for one in faces]
        entries = [entry for entry in prepared.entries if entry.video.split == windows.split]
        return cls(
            root=manifest.root,
            layout=manifest.layout,
            compressions=tuple(compressions_of(videos)) if manifest.layout == "ffpp" else (),
            methods=tuple(sorted({video.method for video in videos} - {""})),
            notes=tuple(map(str, manifest.notes)),
            digest=digest_of_entries(entries, manifest.root),
            videos=faces,
        )


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The measurements on a split.

    Attributes:
        loss: mean binary cross-entropy of the windows.
        windows, videos: the metrics; a video's score is the mean of its windows'.
        scores: one for each video that has windows.
        video_of_window: `(n,)` positions in `scores`.
        fake_probabilities: `(n,)`, of the windows.
        skipped: videos that gave no windows or were not read to the end, with the reason.
    """

    split: str
    loss: float
    windows: Metrics
    videos: Metrics
    scores: tuple[VideoScore, ...]
    video_of_window: NDArray[np.int64]
    fake_probabilities: Doubles
    skipped: tuple[Skipped, ...]


def evaluate(
    request: DataRequest,
    model: VideoModel,
    config: ModelConfig,
    *,
    split: str = "test",
    scoring: Scoring = DEFAULT,
    device: str | None = None,
    progress: Progress = ignore,
) -> tuple[Evaluation, EvaluatedData]:
    """Score a split of a data set.

    Args:
        request: a prepared folder, or raw videos, whose faces are prepared first.
        model: moved to the device and set to evaluation mode.
        config: the model's; decides crop, sampling and T.
        split: train, val or test.
        scoring: which windows are scored, and how.
        device: None uses a GPU if there is one.
        progress: called with ("faces in SPLIT" or "score SPLIT", done, total).

    Raises:
        DataError: the layout is wrong, or a class is left without a window.
        BackendError: the GPU is missing, fails or runs out of memory.
    """
    with_fakes = scoring.fakes != "self-blended"
    data = open_data(request, config, splits=(split,), with_fakes=with_fakes, progress=progress)
    prepared = data.faces(split)
    windows = windows_in(prepared, split, data.num_frames)
    what = f"scoring {scoring.batch_size} windows a batch"
    with gpu_errors(what, less="a smaller --batch-size"):
        on_device = model.to(find_device(device))
        found = evaluate_windows(on_device, windows, scoring, progress=progress)
    return found, EvaluatedData.of(prepared, windows)


def evaluate_windows(
    model: VideoModel,
    windows: SplitWindows,
    scoring: Scoring = DEFAULT,
    *,
    team: Team | None = None,
    progress: Progress = ignore,
) -> Evaluation:
    """Score windows of a split, each in one process of a team; see `evaluate`."""
    samples = held_out_samples(windows, scoring.windows_per_video, fakes=scoring.fakes)
    stage = f"score {windows.split}"
    logits = score_logits(model, samples, scoring, team=team, stage=stage, progress=progress)
    return judge(samples, logits, split=windows.split, skipped=windows.skipped)


def judge(
    samples: Sequence[Sample], logits: Doubles, *, split: str, skipped: tuple[Skipped, ...] = ()
) -> Evaluation:
    """Compare logits `(n,)` with their samples' labels, by window and by video."""
    labels = np.array([sample.label for sample in samples])
    probabilities = sigmoid(logits)
    keys = [sample.video_key for sample in samples]
    video_labels, means = mean_per_video(keys, labels, probabilities)
    number = {key: position for position, key in enumerate(dict.fromkeys(keys))}
    video_of_window = np.array([number[key] for key in keys])
    counts = np.bincount(video_of_window).tolist()
    of_key = dict(zip(keys, samples, strict=True))  # any sample of a video will do
    scores = tuple(
        VideoScore(of_key[key].ref.video, of_key[key].is_blended, mean, count)
        for key, mean, count in zip(number, means.tolist(), counts, strict=True)
    )
    return Evaluation(
        split=split,
        loss=cross_entropy(labels, logits),
        windows=measure(labels, probabilities),
        videos=measure(video_labels, means),
        scores=scores,
        video_of_window=video_of_window,
        fake_probabilities=probabilities,
        skipped=skipped,
    )


def cross_entropy(labels: NDArray[np.int64], logits: Doubles) -> float:
    """Average the negative logarithm of the probability of each label."""
    return float(np.mean(np.logaddexp(0.0, np.where(labels == 1, -logits, logits))))
