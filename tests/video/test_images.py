"""Images and folders of images."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from istvt.errors import BrokenSourceError, SourceNotFoundError, UnreadableSourceError
from istvt.video.source import open_source

Picture = Callable[..., np.ndarray]


def save(path: Path, image: np.ndarray) -> Path:
    cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return path


def test_an_image_is_one_frame(tmp_path: Path, picture: Picture) -> None:
    with open_source(save(tmp_path / "äö.PNG".lower(), picture(3))) as source:
        assert (source.frames_declared, source.fps, source.size_wh) == (1, None, (64, 48))
        (frame,) = source
    np.testing.assert_array_equal(frame.image, picture(3))
    assert (frame.index, frame.time_s) == (0, 0.0)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_and_deep_images_become_rgb(tmp_path: Path, dtype: type[np.generic]) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((8, 9), np.iinfo(dtype).max, dtype))
    with open_source(tmp_path / "a.png") as source:
        (frame,) = source
    assert (frame.image.shape, frame.image.dtype) == ((8, 9, 3), np.uint8)
    assert frame.image.min() == 255


def test_a_folder_is_read_in_natural_order(
    tmp_path: Path, picture: Picture, number_of: Callable[..., int]
) -> None:
    for number in (10, 9, 2, 1):
        save(tmp_path / f"frame{number}.png", picture(number))
    (tmp_path / "notes.txt").write_text("not a picture")
    with open_source(tmp_path, images_fps=10.0) as source:
        assert (source.frames_declared, source.fps) == (4, 10.0)
        frames = list(source)
    assert [number_of(frame.image) for frame in frames] == [1, 2, 9, 10]
    assert [frame.time_s for frame in frames] == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_images_of_several_sizes_are_no_video(tmp_path: Path, picture: Picture) -> None:
    save(tmp_path / "a.png", picture(1))
    save(tmp_path / "b.png", picture(1, size_wh=(32, 48)))
    with (
        open_source(tmp_path) as source,
        pytest.raises(UnreadableSourceError, match=r"a\.png is 64x48, b\.png is 32x48"),
    ):
        list(source)


def test_a_damaged_image_is_skipped_and_told(
    tmp_path: Path, picture: Picture, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in "abc":
        save(tmp_path / f"{name}.png", picture(1))
    content = (tmp_path / "b.png").read_bytes()
    (tmp_path / "b.png").write_bytes(content[: len(content) // 2])
    indexes: list[int] = []
    with (
        open_source(tmp_path) as source,
        pytest.raises(BrokenSourceError, match="1 of 3") as caught,
    ):
        indexes.extend(frame.index for frame in source)
    assert indexes == [0, 2]
    assert (caught.value.frames_read, caught.value.frames_declared) == (2, 3)
    assert capfd.readouterr().err == ""


def test_text_and_nothing_are_no_images(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("hello")
    (tmp_path / "b.jpg").touch()
    for name in ("a.jpg", "b.jpg"):
        with pytest.raises(UnreadableSourceError, match=name):
            open_source(tmp_path / name)


def test_a_folder_without_images(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError, match="without images"):
        open_source(tmp_path)


def test_exif_orientation_is_applied(tmp_path: Path, picture: Picture) -> None:
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(picture(3), cv2.COLOR_RGB2BGR))
    # one TIFF entry: tag 0x0112 (orientation), SHORT, 1 value, 6 (turn 90 degrees clockwise)
    tiff = (
        b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00"
        + bytes(4)
    )
    exif = b"Exif\x00\x00" + tiff
    app1 = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    content = jpeg.tobytes()
    (tmp_path / "a.jpg").write_bytes(content[:2] + app1 + content[2:])
    with open_source(tmp_path / "a.jpg") as source:
        (frame,) = source
    assert frame.image.shape == (64, 48, 3)
    assert np.abs(frame.image - np.rot90(picture(3), -1).astype(float)).mean() < 5


def test_a_gif_with_transparency_becomes_rgb(tmp_path: Path) -> None:
    image_module = pytest.importorskip("PIL.Image", reason="Pillow writes the test's gif")
    pictures = [image_module.new("P", (64, 48), color=index) for index in (1, 2, 1)]
    for picture in pictures:
        picture.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0])
        picture.paste(0, (0, 0, 32, 48))
    pictures[0].save(
        tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=100, transparency=0
    )
    with open_source(tmp_path / "a.gif") as source:
        frames = list(source)
    assert [frame.image.shape for frame in frames] == [(48, 64, 3)] * 3
    assert [tuple(frame.image[24, 48]) for frame in frames] == [
        (200, 0, 0),
        (0, 200, 0),
        (200, 0, 0),
    ]
    assert [frame.time_s for frame in frames] == pytest.approx([0.0, 0.1, 0.2])
