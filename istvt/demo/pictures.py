"""Draw the demo's pictures: film strips of clips, and their scores over time."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from istvt.extras import require
from istvt.records import UInt8Array
from istvt.video.source import open_source

if TYPE_CHECKING:
    from istvt.demo.story import StreamedClip

STRIP_FRAMES = 6


def film_strip(clip: Path, *, frames: int = STRIP_FRAMES) -> UInt8Array:
    """Put evenly spaced frames of a clip side by side: `(H, frames * W, 3)` RGB."""
    with open_source(clip) as source:
        images = [frame.image for frame in source]
    chosen = np.linspace(0, len(images) - 1, frames).round().astype(int)
    return np.concatenate([images[index] for index in chosen], axis=1)


def draw_scores(
    path: Path, clips: "Iterable[StreamedClip]", *, threshold: float, band: float
) -> None:
    """Plot each clip's fake probability over time, with the inconclusive band."""
    figure_module = require("matplotlib.figure", extra="cpu")
    figure = figure_module.Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.axhspan(threshold - band, threshold + band, color="0.9", label="inconclusive band")
    for clip, colour in zip(clips, ("#238b45", "#de2d26"), strict=True):
        times_s, scores, running = zip(*clip.windows, strict=True)
        axes.plot(times_s, scores, ".", color=colour, alpha=0.5)
        axes.plot(times_s, running, color=colour, label=f"held-out {clip.label} clip")
    axes.set(xlabel="time (s)", ylabel="fake probability", ylim=(-0.02, 1.02))
    figure.legend(loc="outside right center")
    figure.savefig(path, dpi=120)


def write_picture(path: Path, image: UInt8Array, *, width_px: int | None = None) -> None:
    """Write an RGB image in the format of the file's suffix, resized to `width_px` if given."""
    cv2 = require("cv2", extra="cpu")
    if width_px is not None:
        height_px = round(image.shape[0] * width_px / image.shape[1])
        image = cv2.resize(image, (width_px, height_px), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
