"""`prepare` from videos to a folder, whatever ends it in the middle."""

import errno
import fcntl
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from istvt.data.layouts.manifest import Label, Manifest, Video
from istvt.data.prepared import readers
from istvt.data.prepared.face_recipe import FaceRecipe
from istvt.data.prepared.folder import begin_prepared, digest_of_entries, open_prepared
from istvt.data.prepared.prepare import prepare
from istvt.errors import DataError, RuntimeEnvironmentError
from istvt.lock import locked
from istvt.presets import CropRecipe, Sampling

RECIPE = FaceRecipe(CropRecipe(96), Sampling(), num_frames=6)
NUM_FRAMES = 12


def manifest_of(folder, *names):
    videos = tuple(Video(folder / f"{name}.mp4", Label.REAL, "train") for name in names)
    return Manifest(folder, "folder", videos)


def content_of(folder):
    """Digest every file; the lock is no content."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


@pytest.fixture
def no_reading(monkeypatch):
    """Make every reading of a video an error."""

    def fail(*_, **__):
        raise AssertionError("a video was read")

    return lambda: monkeypatch.setattr(readers.ReaderProcess, "read", fail)


def test_what_is_written_is_what_is_opened(videos, tmp_path):
    told = []
    manifest = manifest_of(videos, "cut", "empty", "face", "gap", "missing")
    written = prepare(manifest, tmp_path / "out", RECIPE, progress=lambda *args: told.append(args))
    opened = open_prepared(tmp_path / "out")
    for prepared in (written, opened):
        assert prepared.manifest == manifest
        assert prepared.recipe == RECIPE
        assert [faces.video.path.stem for faces in prepared.videos] == ["empty", "face", "gap"]
        reasons = {item.path.stem: item.reason for item in prepared.skipped}
        assert set(reasons) == {"cut", "empty", "missing", "gap"} - {"gap"}
        assert reasons["cut"].startswith("not a video file, or one that was cut off")
        assert reasons["empty"] == f"no face in {NUM_FRAMES} frames"
        assert reasons["missing"] == "cannot be read: No such file or directory"
    assert written.digest == opened.digest
    for one, other in zip(written.videos, opened.videos, strict=True):
        for name in ("indices", "times_s", "track_ids", "runs"):
            assert getattr(one, name).tolist() == getattr(other, name).tolist()
            assert getattr(one, name).dtype == getattr(other, name).dtype
        assert (one.shard, one.num_bytes) == (other.shard, other.num_bytes)
    assert told[0] == ("faces", 1, 5), "the one that is missing"
    assert told[-1] == ("faces", 5, 5)
    listed = (tmp_path / "out" / "broken.csv").read_text().splitlines()
    assert listed[0] == "path,reason"
    assert [line.split(",")[0] for line in listed[1:]] == ["cut.mp4", "empty.mp4", "missing.mp4"]


def test_the_same_videos_give_the_same_bytes_in_any_order(videos, tmp_path):
    prepare(manifest_of(videos, "face", "gap", "empty"), tmp_path / "a", RECIPE, workers=2)
    prepare(manifest_of(videos, "gap", "empty", "face"), tmp_path / "b", RECIPE, workers=1)
    assert content_of(tmp_path / "a") == content_of(tmp_path / "b")


def test_a_second_call_reads_and_writes_nothing(videos, tmp_path, no_reading):
    manifest = manifest_of(videos, "face", "gap")
    prepare(manifest, tmp_path / "out", RECIPE)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    no_reading()
    again = prepare(manifest, tmp_path / "out", RECIPE)
    assert [len(faces) for faces in again.videos] == [NUM_FRAMES] * 2
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before


def test_only_what_is_new_or_changed_is_read(videos, tmp_path, monkeypatch):
    data = tmp_path / "data"
    shutil.copytree(videos, data)
    prepare(manifest_of(data, "face", "gap"), tmp_path / "out", RECIPE)
    shutil.copy(data / "face.mp4", data / "more.mp4")
    shutil.copy(data / "empty.mp4", data / "gap.mp4")
    asked = []
    read = readers.ReaderProcess.read
    monkeypatch.setattr(
        readers.ReaderProcess, "read", lambda *args: asked.append(args[1].stem) or read(*args)
    )
    prepared = prepare(manifest_of(data, "face", "gap", "more"), tmp_path / "out", RECIPE)
    assert sorted(asked) == ["gap", "more"]
    assert [len(faces) for faces in prepared.videos] == [NUM_FRAMES, 0, NUM_FRAMES]


def test_a_moved_folder_and_moved_data_are_as_before(videos, tmp_path, no_reading):
    shutil.copytree(videos, tmp_path / "data")
    prepare(manifest_of(tmp_path / "data", "face"), tmp_path / "out", RECIPE)
    (tmp_path / "out").rename(tmp_path / "moved")
    (tmp_path / "data").rename(tmp_path / "other")
    [faces] = open_prepared(tmp_path / "moved").videos
    assert faces.load([0]).images.shape == (1, 96, 96, 3)
    no_reading()
    [faces] = prepare(manifest_of(tmp_path / "other", "face"), tmp_path / "moved", RECIPE).videos
    assert faces.video.path == tmp_path / "other" / "face.mp4"
    assert len(faces) == NUM_FRAMES


def test_a_damaged_shard_is_read_anew(videos, tmp_path):
    manifest = manifest_of(videos, "face")
    [faces] = prepare(manifest, tmp_path / "out", RECIPE).videos
    whole = content_of(tmp_path / "out")
    faces.shard.write_bytes(faces.shard.read_bytes()[:-1])
    prepare(manifest, tmp_path / "out", RECIPE)
    assert content_of(tmp_path / "out") == whole


def test_another_recipe_needs_another_folder(videos, tmp_path):
    begin_prepared(tmp_path / "out", RECIPE)
    other = replace(RECIPE, crop=CropRecipe(300), max_frames=9)
    with pytest.raises(
        DataError, match=r"prepared with crop.size_px 96, not 300, max_frames None, not 9: name"
    ):
        prepare(manifest_of(videos, "face"), tmp_path / "out", other)


def test_a_folder_of_other_things_is_left_alone(videos, tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(DataError, match="is not empty and holds no prepared faces"):
        prepare(manifest_of(videos, "face"), tmp_path, RECIPE)


def test_a_place_that_cannot_be_written_is_an_error(videos, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match=r"Not a directory.*--out .*--cache"):
        prepare(manifest_of(videos, "face"), tmp_path / "file" / "out", RECIPE)
    begin_prepared(tmp_path / "full", RECIPE)
    (tmp_path / "full" / "faces").write_bytes(b"a file where the shards should go")
    with pytest.raises(DataError, match=r"faces cannot be written to .*full \(.*--out"):
        prepare(manifest_of(videos, "face"), tmp_path / "full", RECIPE)


def dying(monkeypatch, body):
    """Start workers in which reading a video named `gap` runs `body` first."""
    patch = (
        "import sys, os, signal; sys.path[:] = {path!r}\n"
        "from istvt.data.prepared import crops\n"
        "write = crops.CropReader.write\n"
        "def die(self, path, shard):\n"
        f"    if path.stem == 'gap': {body}\n"
        "    write(self, path, shard)\n"
        "crops.CropReader.write = die\n"
        "from istvt.data.prepared.readers import main; main()"
    )
    monkeypatch.setattr(readers, "START", patch)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL, perhaps for lack of memory"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV"),
        ("print('last words', file=sys.stderr, flush=True); os._exit(3)", "code 3: last words"),
        ("raise MemoryError('no room')", "MemoryError: no room"),
    ],
)
def test_a_worker_that_dies_costs_one_video(videos, tmp_path, monkeypatch, body, reason):
    dying(monkeypatch, body)
    manifest = manifest_of(videos, "face", "gap", "empty")
    prepared = prepare(manifest, tmp_path / "out", RECIPE, workers=1)
    assert [faces.video.path.stem for faces in prepared.videos] == ["empty", "face"]
    [fault] = [item for item in prepared.skipped if item.path.stem == "gap"]
    assert reason in fault.reason
    monkeypatch.undo()
    again = prepare(manifest, tmp_path / "out", RECIPE)
    assert len(again.videos) == 3, "what a worker died over is tried again"


def test_workers_that_cannot_start_are_an_error(videos, tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "START", "import sys; sys.exit('no such thing')")
    with pytest.raises(RuntimeEnvironmentError, match=r"could not start .*no such thing"):
        prepare(manifest_of(videos, "face"), tmp_path / "out", RECIPE)


def test_processes_that_the_system_does_not_start_are_an_error(videos, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(readers, "ChildProcess", refuse)
    with pytest.raises(RuntimeEnvironmentError, match=r"could not start \(Resource temporarily"):
        prepare(manifest_of(videos, "face"), tmp_path / "out", RECIPE)


def test_what_libraries_print_disturbs_no_answer(videos, tmp_path, monkeypatch):
    dying(monkeypatch, "print('a banner', flush=True); os.write(1, b'[]\\n')")
    prepared = prepare(manifest_of(videos, "gap", "face"), tmp_path / "out", RECIPE, workers=1)
    assert len(prepared.videos) == 2


ORPHAN = """
import sys
from pathlib import Path
from istvt.data.prepared import readers
from tests.data.prepared.test_prepare import RECIPE, manifest_of, prepare
if __name__ == "__main__":
    readers.START = sys.argv[3]
    prepare(manifest_of(Path(sys.argv[1]), "gap"), Path(sys.argv[2]), RECIPE, workers=1)
"""


def is_locked(path):
    if not path.exists():
        return False
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_a_worker_ends_with_a_parent_that_is_killed(videos, tmp_path, monkeypatch):
    held = tmp_path / "held"
    body = f"import fcntl, time; f = open({str(held)!r}, 'w'); fcntl.flock(f, 2); time.sleep(600)"
    dying(monkeypatch, body)
    (tmp_path / "run.py").write_text(ORPHAN)
    command = [sys.executable, tmp_path / "run.py", videos, tmp_path / "out", readers.START]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent, end_s = subprocess.Popen(command, env=environment), time.monotonic() + 60
    while not is_locked(held) and time.monotonic() < end_s:
        time.sleep(0.05)
    assert is_locked(held), "the worker never began to read"
    parent.kill()
    parent.wait()
    while is_locked(held) and time.monotonic() < end_s:
        time.sleep(0.05)
    assert not is_locked(held), "the worker outlived its parent"


def test_an_interrupt_waits_for_no_video(videos, tmp_path, monkeypatch):
    dying(monkeypatch, "__import__('time').sleep(60)")

    def interrupt(_, done, __):
        if done:
            raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        prepare(
            manifest_of(videos, "face", "gap"),
            tmp_path / "out",
            RECIPE,
            workers=2,
            progress=interrupt,
        )
    assert time.monotonic() - started < 30
    assert not list((tmp_path / "out" / "faces").rglob(".*")), "half shards are left"
    assert len(list((tmp_path / "out" / "faces").rglob("*.safetensors"))) == 1


def test_what_a_killed_writer_left_is_swept(videos, tmp_path):
    manifest = manifest_of(videos, "face")
    prepare(manifest, tmp_path / "whole", RECIPE)
    begin_prepared(tmp_path / "out", RECIPE)
    [shard] = (tmp_path / "whole" / "faces").rglob("*.safetensors")
    left = tmp_path / "out" / shard.relative_to(tmp_path / "whole").with_name(".a-b.safetensors")
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    (tmp_path / "out" / ".index-x.safetensors").write_bytes(b"half")
    prepare(manifest, tmp_path / "out", RECIPE)
    assert content_of(tmp_path / "out") == content_of(tmp_path / "whole")


def test_two_do_not_work_in_one_folder(videos, tmp_path):
    begin_prepared(tmp_path / "out", RECIPE)
    manifest = manifest_of(videos, "face")
    second = threading.Thread(target=prepare, args=(manifest, tmp_path / "out", RECIPE))
    with locked(tmp_path / "out") as is_alone:
        assert is_alone
        second.start()
        second.join(1.5)
        assert second.is_alive()
        assert not (tmp_path / "out" / "faces").exists()
    second.join(30)
    assert len(open_prepared(tmp_path / "out").videos) == 1


RUN = """
import sys
from pathlib import Path
from tests.data.prepared.test_prepare import RECIPE, manifest_of, prepare
if __name__ == "__main__":
    prepare(manifest_of(Path(sys.argv[1]), *sys.argv[3:]), Path(sys.argv[2]), RECIPE, workers=2)
"""


KILLS, STARTS = 3, 20


def shards_in(out):
    return sorted(out.rglob("[!.]*.safetensors"))


def kill_at_random(command, out, rng):
    """Start it or go on with it, kill it some shards later, and say whether it lived yet."""
    wanted = len(shards_in(out)) + rng.randint(1, 3)
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    end_s = time.monotonic() + 60
    while len(shards_in(out)) < wanted and process.poll() is None and time.monotonic() < end_s:
        time.sleep(0.005)
    time.sleep(rng.uniform(0, 0.1))
    process.kill()
    assert process.wait() in (0, -signal.SIGKILL)
    return process.returncode == -signal.SIGKILL


def test_a_kill_at_any_moment_changes_nothing_in_the_end(videos, tmp_path):
    """Kill the real process with SIGKILL at random moments, and let it end."""
    data, whole, out = (tmp_path / name for name in ("data", "whole", "out"))
    data.mkdir()
    names = [f"v{number:02}" for number in range(24)]
    for number, name in enumerate(names):
        shutil.copy(videos / ("face.mp4", "gap.mp4", "cut.mp4")[number % 3], data / f"{name}.mp4")
    prepare(manifest_of(data, *names), whole, RECIPE)
    (tmp_path / "run.py").write_text(RUN)
    command = [sys.executable, tmp_path / "run.py", data, out, *names]
    rng, kills = random.Random(), 0
    for _ in range(STARTS):
        before = shards_in(out)
        kills = kills + 1 if kill_at_random(command, out, rng) else 0
        assert set(before) <= set(shards_in(out)), "a kill lost what was done"
        if kills == KILLS:
            break
        if kills == 0:
            shutil.rmtree(out)  # it ended before the moment came: begin anew
    assert kills == KILLS, f"{STARTS} starts, and never {KILLS} kills of one cache"
    prepare(manifest_of(data, *names), out, RECIPE, workers=2)
    assert content_of(out) == content_of(whole)
    assert len(open_prepared(out).videos) == 16
    assert not list(out.rglob(".[!l]*"))


def test_equal_digests_mean_equal_faces_and_labels(videos, tmp_path):
    """A copy with other dates is the same data; another label, split, person or face is not."""
    shutil.copytree(videos, tmp_path / "one")
    manifest = manifest_of(tmp_path / "one", "cut", "face", "gap")
    first = prepare(manifest, tmp_path / "out", RECIPE)
    shutil.copytree(tmp_path / "one", tmp_path / "two", copy_function=shutil.copyfile)
    copied = prepare(manifest_of(tmp_path / "two", "cut", "face", "gap"), tmp_path / "2", RECIPE)
    assert [a.shard.name for a in first.videos] != [b.shard.name for b in copied.videos]
    assert first.digest == open_prepared(tmp_path / "out").digest == copied.digest
    root = manifest.root
    assert digest_of_entries(reversed(first.entries), root) == first.digest
    assert digest_of_entries(first.entries[1:], root) != first.digest
    changes = (
        {"label": Label.FAKE},
        {"split": "val"},
        {"identities": ("ann",)},
        {"method": "swap"},
        {"source": root / "face.mp4"},
    )
    face = first.videos[0]
    others = [replace(face, video=replace(face.video, **change)) for change in changes]
    others += [replace(face, times_s=face.times_s + 1), replace(face, num_bytes=1)]
    digests = {digest_of_entries([one], root) for one in (face, *others)}
    assert len(digests) == len(others) + 1
