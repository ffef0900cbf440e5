"""The leak test: labels that tell nothing, with which nothing may be learnt.

What is validated on true labels after a training on these must have an AUC near 0.5; if it has
not, something beside the faces tells the label. Labels are dealt out over videos and stay for the
whole training, so that a model may learn them by heart, as it may the true ones. As many true
fakes as true reals, by share, are called fake: after a plain permutation of a few dozen videos
enough of them keep their own label to be learnt from.
"""

from dataclasses import replace

import numpy as np

from istvt.data.manifest import Label
from istvt.data.windows import SplitWindows, VideoWindows


def shuffle_labels(windows: SplitWindows, seed: int) -> SplitWindows:
    """Deal the videos' labels out anew among them."""
    rng = np.random.default_rng([seed, len(windows.videos)])
    labels = np.array([video.label for video in windows.videos])
    reals, fakes = (rng.permutation(np.flatnonzero(labels == label)) for label in Label)
    fakes_of_reals = round(len(reals) * len(fakes) / len(labels))
    dealt = np.zeros_like(labels)
    dealt[reals[:fakes_of_reals]] = 1
    dealt[fakes[: len(fakes) - fakes_of_reals]] = 1
    pairs = zip(windows.videos, dealt, strict=True)
    return replace(windows, videos=tuple(_labelled(video, int(label)) for video, label in pairs))


def choose_swapped(windows: SplitWindows, seed: int) -> frozenset[str]:
    """Choose the half of the real videos whose pairs get their two labels swapped.

    A self-blended fake has no label of its own that could be dealt out: it is fake because it was
    blended. So in every pair of a chosen real video the real window is called fake, and its partner
    real.

    Returns:
        Paths of the chosen videos.
    """
    reals = sorted(str(video.video.path) for video in windows.videos if video.label == Label.REAL)
    rng = np.random.default_rng([seed, len(reals)])
    return frozenset(rng.permutation(reals)[: len(reals) // 2].tolist())


def _labelled(windows: VideoWindows, label: int) -> VideoWindows:
    faces = windows.faces
    video = replace(faces.video, label=Label(label))
    return replace(windows, faces=replace(faces, video=video))
