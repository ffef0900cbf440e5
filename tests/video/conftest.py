"""Clips made on the spot: every picture carries its number, readable after lossy coding."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

WIDTH, HEIGHT, FPS, COUNT = 64, 48, 25, 20


def numbered(number: int, *, size_wh: tuple[int, int] = (WIDTH, HEIGHT)) -> NDArray[np.uint8]:
    """Grey level 10 x number on the left; red above blue on the right, which tells turns apart."""
    width, height = size_wh
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 2] = number * 10
    image[: height // 2, width // 2 :, 0] = 250
    image[height // 2 :, width // 2 :, 2] = 250
    return image


def number_in(image: NDArray[np.uint8]) -> int:
    """Read the number back."""
    return round(float(image[8:-8, 8 : WIDTH // 2 - 8].mean()) / 10)


def write_clip(
    path: Path,
    *,
    count: int = COUNT,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    pts: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    noise: bool = False,
) -> Path:
    rng = np.random.default_rng(0)
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=FPS, options=options or {})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pix_fmt
        for number in range(count):
            image = numbered(number)
            if noise:  # gives each packet some size, so that a cut hits pictures
                image[:, WIDTH // 2 :] = rng.integers(0, 255, (HEIGHT, WIDTH // 2, 3))
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if pts is not None:
                frame.pts, frame.time_base = pts[number], Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Callable[..., Path]:
    """Write a clip: `clip("a.mp4", codec=..., ...)`."""
    return lambda name, **how: write_clip(tmp_path / name, **how)


@pytest.fixture
def number_of() -> Callable[[NDArray[np.uint8]], int]:
    return number_in


@pytest.fixture
def picture() -> Callable[..., NDArray[np.uint8]]:
    return numbered
