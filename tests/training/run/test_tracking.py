"""What TensorBoard reads is checked against its own file format, decoded here anew."""

import json
import math
import socket
import struct
import subprocess
import sys
import threading
import time

import pytest

from istvt.training.run.tracking import SCALARS_FILE, TENSORBOARD_FOLDER, Tracker, read_scalars


def crc32c(data):
    """Castagnoli's, bit by bit (RFC 3720, appendix B.4)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def read_events(path):
    """Length, its checksum, content, its checksum: TFRecord."""
    from tensorboardX.proto.event_pb2 import Event

    data, at, events = path.read_bytes(), 0, []
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        content = data[at + 12 : at + 12 + length]
        checks = struct.unpack_from("<I", data, at + 8) + struct.unpack_from(
            "<I", data, at + 12 + length
        )
        assert checks == (masked(data[at : at + 8]), masked(content))
        events.append(Event.FromString(content))
        at += 16 + length
    return events


def read_as_tensorboard(run):
    """Keep what it keeps: files by name, and at each start what came before the start's step."""
    from tensorboardX.proto.event_pb2 import SessionLog

    kept = []
    for path in sorted((run / TENSORBOARD_FOLDER).iterdir()):
        for event in read_events(path):
            if event.session_log.status == SessionLog.START:
                kept = [entry for entry in kept if entry[0] < event.step]
            kept += [(event.step, v.tag, v.simple_value) for v in event.summary.value]
    return kept


def test_what_is_filed_is_read_back(tmp_path):
    with Tracker(tmp_path) as tracker:
        tracker.scalars(1, {"train/loss": 0.75, "train/lr": 0.5})
        tracker.scalars(2, {"train/loss": 0.5})
        tracker.scalars(2, {"val/auc": 0.875})
    expected = [
        (1, "train/loss", 0.75),
        (1, "train/lr", 0.5),
        (2, "train/loss", 0.5),
        (2, "val/auc", 0.875),
    ]
    assert read_as_tensorboard(tmp_path) == expected
    assert read_scalars(tmp_path) == [
        {"step": 1, "train/loss": 0.75, "train/lr": 0.5},
        {"step": 2, "train/loss": 0.5},
        {"step": 2, "val/auc": 0.875},
    ]
    (path,) = (tmp_path / TENSORBOARD_FOLDER).iterdir()
    assert read_events(path)[0].file_version == "brain.Event:2"
    assert abs(read_events(path)[1].wall_time - time.time()) < 60


def test_no_step_is_there_twice_after_a_kill(tmp_path):
    first = Tracker(tmp_path)
    for step in range(1, 9):
        first.scalars(step, {"train/loss": 1.0})
    first.flush()  # killed here: never closed; the last checkpoint was after step 5
    with Tracker(tmp_path, resumed_at=5) as second:
        for step in range(6, 11):
            second.scalars(step, {"train/loss": 2.0})
    losses = [(step, 1.0 if step <= 5 else 2.0) for step in range(1, 11)]
    assert [(step, value) for step, _, value in read_as_tensorboard(tmp_path)] == losses
    assert [(line["step"], line["train/loss"]) for line in read_scalars(tmp_path)] == losses


def test_two_starts_within_a_second_keep_both_files(tmp_path):
    for step in (1, 2, 3):
        with Tracker(tmp_path, resumed_at=step - 1) as tracker:
            tracker.scalars(step, {"a": float(step)})
    assert read_as_tensorboard(tmp_path) == [(1, "a", 1.0), (2, "a", 2.0), (3, "a", 3.0)]


def test_a_fresh_start_drops_what_a_training_without_checkpoint_left(tmp_path):
    for value in (1.0, 2.0):
        with Tracker(tmp_path) as tracker:
            tracker.scalars(1, {"a": value})
    assert read_as_tensorboard(tmp_path) == [(1, "a", 2.0)]
    assert read_scalars(tmp_path) == [{"step": 1, "a": 2.0}]


def test_a_line_cut_by_a_kill_is_dropped(tmp_path):
    with Tracker(tmp_path) as tracker:
        tracker.scalars(1, {"a": 1.0})
    with (tmp_path / SCALARS_FILE).open("a") as file:
        file.write('{"step": 2, "a"')
    assert read_scalars(tmp_path) == [{"step": 1, "a": 1.0}]
    with Tracker(tmp_path, resumed_at=1) as tracker:
        tracker.scalars(2, {"a": 2.0})
    assert [line["step"] for line in read_scalars(tmp_path)] == [1, 2]


def test_numbers_that_are_not_finite_stay_valid_json(tmp_path):
    with Tracker(tmp_path) as tracker:
        tracker.scalars(1, {"a": math.inf, "b": math.nan, "c": 1.0})
    (line,) = (tmp_path / SCALARS_FILE).read_text().splitlines()

    def refuse(name):
        raise AssertionError(name)

    assert json.loads(line, parse_constant=refuse) == {"step": 1, "a": None, "b": None, "c": 1.0}
    assert read_as_tensorboard(tmp_path)[0][2] == math.inf


@pytest.mark.parametrize(("flush_every_s", "is_seen"), [(0.0, True), (3600.0, False)])
def test_it_flushes_now_and_then_only(tmp_path, flush_every_s, is_seen):
    tracker = Tracker(tmp_path, flush_every_s=flush_every_s)
    tracker.scalars(1, {"a": 1.0})
    assert bool(read_scalars(tmp_path)) == is_seen
    tracker.close()
    tracker.close()
    assert read_scalars(tmp_path)


def test_neither_threads_nor_the_machines_name_are_left(tmp_path, monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "secret-machine")
    before = threading.active_count()
    tracker = Tracker(tmp_path)
    tracker.scalars(1, {"a": 1.0})
    assert threading.active_count() == before
    tracker.close()
    assert not [path for path in tmp_path.rglob("*") if "secret-machine" in path.name]


def test_a_program_that_forgets_to_close_ends_and_keeps_what_it_wrote(tmp_path):
    code = (
        "import sys; from pathlib import Path; from istvt.training.run.tracking import Tracker\n"
        "tracker = Tracker(Path(sys.argv[1])); tracker.scalars(1, {'a': 1.0})"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=60, check=True)
    assert read_as_tensorboard(tmp_path) == [(1, "a", 1.0)]
    assert read_scalars(tmp_path) == [{"step": 1, "a": 1.0}]
