"""Written videos are read back."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest

from istvt.errors import BrokenSourceError, RuntimeEnvironmentError, UsageError
from istvt.video.source import open_source
from istvt.video.writer import VideoWriter

Picture = Callable[..., np.ndarray]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".MP4"])
@pytest.mark.parametrize("fps", [25.0, 30000 / 1001, 12.5])
def test_what_is_written_comes_back(
    tmp_path: Path, picture: Picture, number_of: Callable[..., int], suffix: str, fps: float
) -> None:
    path = tmp_path / "new" / f"out{suffix}"
    with VideoWriter(path, fps=fps, size_wh=(64, 48)) as writer:
        for number in range(20):
            writer.write(picture(number))
        assert not path.exists(), "it takes its name when it is complete"
    assert writer.frames_written == 20
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    with open_source(path) as source:
        frames = list(source)
        assert source.fps == pytest.approx(fps, rel=1e-3)
    assert [number_of(frame.image) for frame in frames] == list(range(20))
    np.testing.assert_allclose([f.time_s for f in frames], np.arange(20) / fps, atol=2e-3)
    assert np.abs(frames[3].image - picture(3).astype(float)).mean() < 8


def test_the_codec_is_h264(tmp_path: Path, picture: Picture) -> None:
    if "libx264" not in av.codecs_available:
        pytest.skip("this build of FFmpeg has no libx264")
    with VideoWriter(tmp_path / "a.mp4", fps=25, size_wh=(64, 48)) as writer:
        writer.write(picture(1))
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"


def test_without_libx264_it_is_mpeg4(
    tmp_path: Path, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    with VideoWriter(tmp_path / "a.mp4", fps=25, size_wh=(64, 48)) as writer:
        for number in range(3):
            writer.write(picture(number))
    with open_source(tmp_path / "a.mp4") as source:
        assert len(list(source)) == 3
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "mpeg4"


def test_given_times_are_kept(tmp_path: Path, picture: Picture) -> None:
    times_s = [0.0, 0.04, 0.5, 0.51, 2.0]
    with VideoWriter(tmp_path / "a.mp4", fps=25, size_wh=(64, 48)) as writer:
        for number, time_s in enumerate(times_s):
            writer.write(picture(number), time_s=time_s)
        with pytest.raises(UsageError, match="times must increase"):
            writer.write(picture(9), time_s=1.0)
    with open_source(tmp_path / "a.mp4") as source:
        assert [frame.time_s for frame in source] == pytest.approx(times_s, abs=1e-3)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("start_s", [0.0, 3.0])
def test_other_players_see_the_given_times_too(
    tmp_path: Path, picture: Picture, suffix: str, start_s: float
) -> None:
    times_s = [start_s + late_s for late_s in (0.0, 0.04, 0.12, 0.16, 0.2, 1.0)]
    path = tmp_path / f"a{suffix}"
    with VideoWriter(path, fps=25, size_wh=(64, 48)) as writer:
        for number, time_s in enumerate(times_s):
            writer.write(picture(number), time_s=time_s)
    with av.open(str(path)) as container:
        shown_s = [frame.time for frame in container.decode(video=0)]
    assert shown_s == pytest.approx(times_s, abs=1e-3)


@pytest.mark.parametrize("size_wh", [(63, 47), (64, 47), (63, 48), (1, 1)])
def test_odd_sizes_are_filled_up(
    tmp_path: Path, picture: Picture, size_wh: tuple[int, int]
) -> None:
    width, height = size_wh
    with VideoWriter(tmp_path / "a.mp4", fps=25, size_wh=size_wh) as writer:
        writer.write(np.full((height, width, 3), 200, np.uint8))
    with open_source(tmp_path / "a.mp4") as source:
        (frame,) = source
    assert frame.image.shape == (height + height % 2, width + width % 2, 3)
    assert frame.image.min() > 190, "the edge is repeated, not black"


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_was_written_before_an_interrupt_plays(
    tmp_path: Path, picture: Picture, error: type[BaseException]
) -> None:
    def record() -> None:
        with VideoWriter(tmp_path / "a.mp4", fps=25, size_wh=(64, 48)) as writer:
            for number in range(7):
                writer.write(picture(number))
            raise error

    with pytest.raises(error):
        record()
    with open_source(tmp_path / "a.mp4") as source:
        assert len(list(source)) == 7


KILLED = """
import os, sys
import numpy as np
from istvt.video.writer import VideoWriter
writer = VideoWriter(sys.argv[1], fps=25, size_wh=(64, 48))
rng = np.random.default_rng(0)
for _ in range(600):
    writer.write(rng.integers(0, 255, (48, 64, 3), np.uint8))
os._exit(9)
"""


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_what_was_written_before_a_kill_plays(tmp_path: Path, suffix: str) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, tmp_path / f"a{suffix}"], check=False)
    assert killed.returncode == 9
    with open_source(tmp_path / f"a.part{suffix}") as source, suppress(BrokenSourceError):
        for _ in source:
            pass
    assert source.frames_read > 200


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_a_finished_file_has_an_index_and_plays_in_any_browser(
    tmp_path: Path, picture: Picture, suffix: str
) -> None:
    path = tmp_path / f"a{suffix}"
    with VideoWriter(path, fps=25, size_wh=(64, 48)) as writer:
        for number in range(600):
            writer.write(picture(number % 20))
    with open_source(path) as source:
        assert source.frames_declared == 600
        assert len(list(source)) == 600
    with av.open(str(path)) as container:
        assert container.duration == 24 * av.time_base
    content, at, boxes = path.read_bytes(), 0, []
    while at < len(content):
        boxes.append(content[at + 4 : at + 8].decode())
        length = int.from_bytes(content[at : at + 4])
        at += length if length != 1 else int.from_bytes(content[at + 8 : at + 16])
    assert "moov" in boxes
    assert "moof" not in boxes


def test_a_colon_in_the_name_is_no_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with VideoWriter("cam:1.mp4", fps=25, size_wh=(64, 48)) as writer:
        writer.write(np.zeros((48, 64, 3), np.uint8))
    Path("cam:1.mp4").rename("12:30:05.mp4")
    with open_source("12:30:05.mp4") as source:
        assert source.name == "12:30:05.mp4"
        assert len(list(source)) == 1


def test_the_old_file_stays_until_the_new_one_is_complete(tmp_path: Path, picture: Picture) -> None:
    path = tmp_path / "a.mp4"
    path.write_text("old")
    writer = VideoWriter(path, fps=25, size_wh=(64, 48))
    writer.write(picture(1))
    assert path.read_text() == "old"
    writer.close()
    writer.close()
    assert path.read_bytes()[4:8] == b"ftyp"
    with pytest.raises(UsageError, match="closed"):
        writer.write(picture(1))


def test_without_frames_there_is_no_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    VideoWriter(tmp_path / "a.mp4", fps=25, size_wh=(64, 48)).close()
    assert list(tmp_path.iterdir()) == []
    assert "not one frame" in caplog.text


def test_a_lower_crf_is_better_and_larger(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    sizes = []
    for crf in (5, 40):
        with VideoWriter(tmp_path / "a.mp4", fps=25, size_wh=(64, 48), crf=crf) as writer:
            writer.write(noise)
        sizes.append((tmp_path / "a.mp4").stat().st_size)
    assert sizes[0] > 2 * sizes[1]


@pytest.mark.parametrize(
    ("name", "fps", "size_wh", "message"),
    [
        ("a.xyz", 25, (64, 48), r"got the suffix \.xyz, expected one of \.mkv, \.mov, \.mp4"),
        ("a", 25, (64, 48), r"\(none\)"),
        ("a.mp4", 0, (64, 48), "above 0"),
        ("a.mp4", float("nan"), (64, 48), "above 0"),
        ("a.mp4", 25, (0, 48), "above 0"),
    ],
)
def test_bad_wishes(
    tmp_path: Path, name: str, fps: float, size_wh: tuple[int, int], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        VideoWriter(tmp_path / name, fps=fps, size_wh=size_wh)
    assert list(tmp_path.iterdir()) == []


def test_bad_qualities(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="quickest, expected one of ultrafast"):
        VideoWriter(tmp_path / "a.mp4", fps=25, size_wh=(64, 48), preset="quickest")
    with pytest.raises(UsageError, match="crf 52"):
        VideoWriter(tmp_path / "a.mp4", fps=25, size_wh=(64, 48), crf=52)


def test_a_full_disk_is_told(tmp_path: Path, picture: Picture) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full to write to")
    (tmp_path / "a.part.mkv").symlink_to("/dev/full")
    noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
    writer = VideoWriter(tmp_path / "a.mkv", fps=25, size_wh=(640, 480), crf=0, preset="ultrafast")

    def write_much() -> None:
        for _ in range(300):
            writer.write(noise)

    with pytest.raises(RuntimeEnvironmentError, match="No space left"):
        write_much()
    with pytest.raises(RuntimeEnvironmentError, match="No space left"):
        writer.close()
    assert not (tmp_path / "a.mkv").exists()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written"):
        VideoWriter(tmp_path / "file" / "a.mp4", fps=25, size_wh=(64, 48))


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((47, 64, 3), np.uint8),
        np.zeros((48, 64), np.uint8),
        np.zeros((48, 64, 3), np.float32),
    ],
)
def test_other_images_are_refused(tmp_path: Path, image: np.ndarray) -> None:
    with (
        VideoWriter(tmp_path / "a.mp4", fps=25, size_wh=(64, 48)) as writer,
        pytest.raises(UsageError, match=r"expected \(48, 64, 3\)"),
    ):
        writer.write(image)
