"""Video files: every frame, upright, with its time; every loss told."""

import struct
import weakref
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from istvt.errors import BrokenSourceError, SourceNotFoundError, UnreadableSourceError
from istvt.records import Frame
from istvt.video import file as file_module
from istvt.video.source import open_source

Clip = Callable[..., Path]
FASTSTART = {"movflags": "faststart"}


def read(path: Path) -> list[Frame]:
    with open_source(path) as source:
        return list(source)


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("a.mov", "libx264", "yuv444p"),
        ("a.mkv", "ffv1", "yuv422p10le"),
        ("rgb.mov", "png", "rgb24"),
        ("a.avi", "mpeg4", "yuv420p"),
        ("a.avi", "mjpeg", "yuvj422p"),
        ("a.webm", "libvpx-vp9", "yuv420p"),
        ("grey.mkv", "ffv1", "gray"),
        ("a.ts", "libx264", "yuv420p"),
        ("a.gif", "gif", "rgb8"),
    ],
)
def test_every_frame_of_every_container_comes_in_order(
    clip: Clip, number_of: Callable[..., int], name: str, codec: str, pix_fmt: str
) -> None:
    frames = read(clip(name, codec=codec, pix_fmt=pix_fmt))
    assert [number_of(frame.image) for frame in frames] == list(range(20))
    assert [frame.index for frame in frames] == list(range(20))
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(20) / 25, atol=2e-3)
    assert {(frame.image.shape, frame.image.dtype.name) for frame in frames} == {
        ((48, 64, 3), "uint8")
    }


def test_a_source_tells_what_it_is(clip: Clip) -> None:
    path = clip("a.mp4")
    with open_source(path) as source:
        assert (source.name, source.is_live, source.fps) == (str(path), False, 25.0)
        assert (source.size_wh, source.frames_declared, source.frames_read) == ((64, 48), 20, 0)
        frames = iter(source)
        next(frames)
        next(frames)
        assert (source.frames_read, source.frames_dropped) == (2, 0)


def test_a_closed_source_gives_nothing_more(clip: Clip) -> None:
    source = open_source(clip("a.mp4"))
    source.close()
    assert list(source) == []
    source.close()


def test_times_are_those_of_the_file_where_its_rate_varies(clip: Clip) -> None:
    pts = [100 + number * number for number in range(20)]
    times = [frame.time_s for frame in read(clip("vfr.mkv", pts=pts))]
    np.testing.assert_allclose(times, np.arange(20) ** 2 / 25, atol=1e-3)


def test_an_edit_list_is_no_loss(clip: Clip, number_of: Callable[..., int]) -> None:
    with open_source(clip("edited.mp4", pts=list(range(-5, 15)))) as source:
        assert source.frames_declared == 15
        assert [number_of(frame.image) for frame in source] == list(range(5, 20))


def test_images_are_not_shared(clip: Clip) -> None:
    path = clip("rgb.mov", codec="qtrle", pix_fmt="rgb24")  # paints changes over the last picture
    with open_source(path) as source:
        frames = iter(source)
        first = next(frames)
        before = first.image.copy()
        second = next(frames)
        second.image[:] = 99
        third = next(frames)
        np.testing.assert_array_equal(first.image, before)
        assert not (third.image == 99).any()


@pytest.mark.parametrize(
    ("matrix", "turn"),
    [
        ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
        ((-1, 0, 0, -1), lambda image: np.rot90(image, 2)),
        ((0, -1, 1, 0), lambda image: np.rot90(image, 1)),
        ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
        ((0, 1, 1, 0), lambda image: image.transpose(1, 0, 2)),
    ],
    ids=["90 clockwise", "180", "90 counter-clockwise", "mirrored", "transposed"],
)
def test_the_display_matrix_is_applied(
    clip: Clip, matrix: tuple[int, int, int, int], turn: Callable[[np.ndarray], np.ndarray]
) -> None:
    path = clip("a.mp4")
    upright = read(path)[3].image
    content = bytearray(path.read_bytes())
    at = content.find(b"tkhd") + 44  # version 0: 4 of type, 40 of fields, then the matrix
    a, b, c, d = (value << 16 for value in matrix)
    content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    with open_source(path) as source:
        turned = list(source)[3].image
        assert source.size_wh == (turned.shape[1], turned.shape[0])
    np.testing.assert_array_equal(turned, turn(upright))


def cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


@pytest.mark.parametrize(
    ("name", "codec", "declared"),
    [("a.mp4", "libx264", 20), ("a.mkv", "libx264", None), ("a.avi", "mpeg4", 20)],
)
def test_a_cut_file_gives_what_it_has_and_then_says_so(
    clip: Clip, number_of: Callable[..., int], name: str, codec: str, declared: int | None
) -> None:
    path = cut(clip(name, codec=codec, noise=True, container_options=FASTSTART), 0.6)
    frames: list[Frame] = []
    with open_source(path) as source, pytest.raises(BrokenSourceError) as caught:
        frames.extend(source)
    assert 2 < len(frames) < 18
    assert [number_of(frame.image) for frame in frames] == [frame.index for frame in frames]
    assert (caught.value.frames_read, caught.value.frames_declared) == (len(frames), declared)
    assert source.frames_read == len(frames)
    assert str(path) in str(caught.value)


def test_a_cut_gif_says_so(clip: Clip) -> None:
    path = cut(clip("a.gif", codec="gif", pix_fmt="rgb8", noise=True), 0.6)
    with open_source(path) as source, pytest.raises(BrokenSourceError, match="end mark of a gif"):
        list(source)
    assert 8 < source.frames_read < 18


def test_frames_after_damage_are_held_back_until_the_next_key_frame(
    clip: Clip, number_of: Callable[..., int]
) -> None:
    coding = {"g": "5", "bf": "0", "sc_threshold": "0"}
    path = clip("a.mp4", noise=True, options=coding, container_options=FASTSTART)
    with av.open(str(path)) as container:
        victim = [packet.pos for packet in container.demux(video=0)][7]
    content = bytearray(path.read_bytes())
    content[victim + 4 : victim + 300] = bytes(296)
    path.write_bytes(content)
    frames: list[Frame] = []
    with open_source(path) as source, pytest.raises(BrokenSourceError, match="17 of 20"):
        frames.extend(source)
    expected = [*range(7), *range(10, 20)]
    assert [frame.index for frame in frames] == expected
    assert [number_of(frame.image) for frame in frames] == expected
    np.testing.assert_allclose([frame.time_s for frame in frames], np.array(expected) / 25)


def test_silently_missing_frames_are_noticed(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_module, "count_declared", lambda *_: 30)
    with open_source(clip("a.mp4")) as source, pytest.raises(BrokenSourceError, match="20 of 30"):
        list(source)


def audio_only(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_what_is_no_video_is_told_apart(clip: Clip, tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("hello " * 99)
    prose = tmp_path / "prose.txt"
    prose.write_text("hello " * 99)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    cases = {
        text: "not a video file",
        prose: "no video that can be decoded",
        empty: "0 bytes",
        cut(clip("cut.mp4"), 0.5): "cut off before its index",
        audio_only(tmp_path / "sound.m4a"): "found: audio",
    }
    for path, message in cases.items():
        with pytest.raises(UnreadableSourceError, match=message) as caught:
            open_source(path)
        assert str(path) in str(caught.value)


def test_a_file_whose_every_picture_is_damaged_is_unreadable(clip: Clip) -> None:
    path = clip("a.mp4", noise=True, container_options=FASTSTART)
    with av.open(str(path)) as container:
        start = min(packet.pos for packet in container.demux(video=0) if packet.size)
    path.write_bytes(path.read_bytes()[:start] + bytes(path.stat().st_size - start))
    with pytest.raises(UnreadableSourceError, match="not one frame"):
        open_source(path)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError, match=r"there is no .*nope\.mp4"):
        open_source(tmp_path / "nope.mp4")
    with pytest.raises(SourceNotFoundError, match=r"there is no .*/nowhere;"):
        open_source(tmp_path / "nowhere" / "nope.mp4")
    with pytest.raises(SourceNotFoundError, match="--camera 7"):
        open_source("7")


def test_no_permission(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise av.PermissionError(13, "Permission denied", "a.mp4")

    path = clip("a.mp4")
    monkeypatch.setattr(av, "open", refuse)
    with pytest.raises(UnreadableSourceError, match="no permission"):
        open_source(path)


def test_file_urls_are_paths(clip: Clip) -> None:
    with open_source(clip("with space.mp4").as_uri()) as source:
        assert len(list(source)) == 20


@pytest.mark.parametrize(
    ("name", "count", "fps", "end_s"),
    [
        ("one_face_480x480.mp4", 216, 30.0, 215 / 30),
        ("stage_four_shots_640x360.mp4", 275, 29.97, 274 / 29.97),
        ("head_turn_b.gif", 62, 12.5, 5.08),
        ("no_face.mp4", 1189, 29.8333, 1188 / 29.8333),
    ],
)
def test_real_recordings(media: Path, name: str, count: int, fps: float, end_s: float) -> None:
    alive: list[weakref.ref[np.ndarray]] = []
    last = None
    with open_source(media / name) as source:
        assert source.fps == pytest.approx(fps, abs=0.001)
        assert source.frames_declared == count
        for last in source:
            alive = [image for image in alive if image() is not None]
            alive.append(weakref.ref(last.image))
            assert len(alive) <= 2, "images are kept after their turn"
        assert source.frames_read == count
    assert last is not None
    assert last.index == count - 1
    assert last.time_s == pytest.approx(end_s, abs=0.02)
