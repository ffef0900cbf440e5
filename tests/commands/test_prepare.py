"""`istvt prepare` from its options to the folder and what it prints."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from istvt.commands.prepare import prepare
from istvt.data.prepared.face_recipe import FaceRecipe
from istvt.data.prepared.folder import open_prepared
from istvt.errors import DataError, ExitCode, UsageError
from istvt.presets import TINY, CropRecipe, Sampling
from tests.data.faces import write_video

pytest.importorskip("onnxruntime", reason="face detection needs ONNX Runtime")


@pytest.fixture
def data(media: Path, tmp_path: Path) -> Path:
    """A person as real and another as fake, a picture without a face and a broken file."""
    for place, name in (
        ("train/real/a.gif", "head_turn_a.gif"),
        ("train/fake/b.gif", "head_turn_b.gif"),
        ("val/real/a.gif", "head_turn_a.gif"),
    ):
        path = tmp_path / "data" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(media / name, path)
    write_video(path.with_name("none.mp4"), [np.full((96, 96, 3), 90, np.uint8)] * 8)
    path.with_name("cut.mp4").write_bytes(b"no video")
    path.unlink()
    shutil.copy(media / "one_face_480x480.mp4", path.with_name("c.mp4"))
    return tmp_path / "data"


def test_it_counts_and_names_what_comes_next(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "val" / "real" / "notes.txt").write_text("")
    out = tmp_path / "out"
    code = prepare(data, out=out, preset="tiny", sample_fps=12.5, max_frames=12, workers=2)
    assert code == ExitCode.INCOMPLETE
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert lines[0].split() == [
        *("split", "label", "method", "videos", "faces", "tracks", "windows", "no", "window")
    ]
    assert [line.split() for line in lines[1:5]] == [
        ["train", "real", "-", "1", "12", "1", "7", "0"],
        ["train", "fake", "-", "1", "12", "1", "7", "0"],
        ["val", "real", "-", "3", "12", "1", "7", "2"],
        ["all", "5", "36", "3", "21", "2"],
    ]
    broken = f"2 of 5 videos give no window, or were not read to the end; all are in {out}/broken"
    assert f"{broken}.csv:" in told.out
    assert f"  {data}/val/real/none.mp4: no face in" in told.out
    fakes = "--fakes self-blended"  # there is none in val
    assert lines[-1] == f"  istvt train {out} --preset tiny --sample-fps 12.5 {fakes}"
    assert "note: unknown-file: 1 " in told.err
    assert f"{data}, read as folder: 5 videos" in told.err
    with (out / "broken.csv").open() as table:
        listed = {row["path"]: row["reason"] for row in csv.DictReader(table)}
    assert set(listed) == {"val/real/cut.mp4", "val/real/none.mp4"}


def test_real_videos_alone_are_to_be_blended(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(data / "train" / "fake")
    for name in ("cut", "none"):
        (data / "val" / "real" / f"{name}.mp4").unlink()
    out = tmp_path / "out"
    assert prepare(data, out=out, preset="tiny", max_frames=8, workers=1) == ExitCode.DONE
    told = capsys.readouterr()
    last = told.out.splitlines()[-1]
    assert last == f"  istvt train {out} --preset tiny --fakes self-blended"
    assert "note:" not in told.err


def test_what_cannot_be_trained_on_is_told_before_and_after(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "val" / "real" / "c.mp4").unlink()
    shutil.rmtree(data / "train" / "real")
    out = tmp_path / "out"
    code = prepare(data, out=out, preset="tiny", max_frames=8, workers=1)
    assert code == ExitCode.INCOMPLETE
    told, needs = capsys.readouterr(), "istvt train needs real videos in train and val, but there"
    assert f"note: {needs} are none in train/real\n" in told.err
    assert told.out.splitlines()[-1] == f"  more videos: {needs} are none in train/real, val/real"


def test_other_data_in_one_folder_are_refused_and_what_is_of_no_use_is_removed(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shutil.rmtree(data / "val")
    options = {"out": out, "preset": "tiny", "max_frames": 8, "workers": 1}
    prepare(data, **options)
    other = shutil.copytree(data, tmp_path / "other", copy_function=shutil.copyfile)
    with pytest.raises(DataError, match=r"out holds the faces of 2 videos of .*name another"):
        prepare(other, **options)
    os.utime(data / "train" / "fake" / "b.gif", (1, 1))
    assert prepare(data, **options) == ExitCode.DONE
    told = capsys.readouterr().out
    assert "\nremoved 1 shards of changed videos or older versions\n" in told


def test_a_name_that_is_not_utf8_costs_one_video(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(data / "val")
    shutil.copy(data / "train" / "real" / "a.gif", data / os.fsdecode(b"train/real/\xe9t\xe9.gif"))
    assert prepare(data, out=tmp_path / "out", preset="tiny", max_frames=8) == ExitCode.DONE
    told = capsys.readouterr().err
    assert "note: unreadable-name: 1 videos or their sources have a name that is not UTF-8" in told
    assert len(open_prepared(tmp_path / "out").videos) == 2


def test_its_options_make_the_recipe(data: Path, tmp_path: Path) -> None:
    shutil.rmtree(data / "val")
    code = prepare(
        data, out=tmp_path / "out", preset="tiny", frame_step=2, windows_per_video=3, jpeg=90
    )
    assert code == ExitCode.DONE
    assert open_prepared(tmp_path / "out").recipe == FaceRecipe(
        CropRecipe(TINY.image_size),
        Sampling(frame_step=2),
        num_frames=TINY.num_frames,
        windows_per_video=3,
        codec="jpeg",
        quality=90,
    )


def test_what_cannot_be_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        prepare(data, out=tmp_path / "out", frame_step=2, sample_fps=7)
    with pytest.raises(UsageError, match="sample_fps is 0"):
        prepare(data, out=tmp_path / "out", sample_fps=0)
    with pytest.raises(DataError, match="expected one of"):
        prepare(tmp_path / "nothing", out=tmp_path / "out")
    shutil.copy(data / "train" / "real" / "a.gif", data / "val" / "real" / "copy.gif")
    with pytest.raises(DataError, match="videos are in more than one split"):
        prepare(data, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_at_once_and_the_next_call_goes_on(
    data: Path, tmp_path: Path, number: int
) -> None:
    video, out = data / "val" / "real" / "c.mp4", tmp_path / "out"
    for copy in range(40):
        shutil.copy(video, video.with_name(f"c{copy}.mp4"))
    command = [sys.executable, "-m", "istvt", "prepare", data, "--out", out, "--preset", "tiny"]
    process = subprocess.Popen(
        [*map(str, command), "--workers", "2"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    deadline = time.monotonic() + 60
    while not list(out.rglob("[!.]*.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    started = time.monotonic()
    _, stderr = process.communicate(timeout=30)
    assert time.monotonic() - started < 5
    assert process.returncode == ExitCode.INTERRUPTED
    assert f"stopped: {out} keeps the finished videos; the same command resumes" in stderr
    assert "Traceback" not in stderr
    left = [path for path in (out / "faces").rglob("*") if path.is_file()]
    assert left
    assert all(path.name[0] != "." for path in left), "half shards are left"
    assert len(left) < 40
