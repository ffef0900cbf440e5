"""File the numbers of a training by step, for TensorBoard and as lines of JSON.

Events are written at once through tensorboardX's record writer. Its `SummaryWriter` queues them for
a thread: a flush returns before they are written, and on a full disk the thread ends and
the queue blocks the training.
"""

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from istvt.closing import ClosesOnExit
from istvt.extras import require
from istvt.files import atomic_file

SCALARS_FILE = "scalars.jsonl"
TENSORBOARD_FOLDER = "tensorboard"
FLUSH_EVERY_S = 20.0
VALIDATION = "val/"  # begins the names of what validation found


class Tracker(ClosesOnExit):
    """Writes what a run folder's `tensorboard/` and `scalars.jsonl` hold.

    Every number is filed under the steps taken before it, those of validation too, so that a
    resumed training can say which no longer count.

    Args:
        run: the run folder.
        resumed_at: steps after which the training continues. What was written of later ones,
            before a kill, is dropped from the lines; TensorBoard is told to purge it.
        is_validated: whether what was found by validation after these steps counts too; otherwise
            it is dropped from the lines, for it will be found again.
        flush_every_s: seconds after which what is written can be read.

    Raises:
        MissingExtraError: tensorboardX is not installed.
    """

    def __init__(
        self,
        run: Path,
        *,
        resumed_at: int = 0,
        is_validated: bool = True,
        flush_every_s: float = FLUSH_EVERY_S,
    ) -> None:
        self._open_events(run / TENSORBOARD_FOLDER, first_step=resumed_at + 1)
        path = run / SCALARS_FILE
        _drop_after(path, resumed_at, is_validated=is_validated)
        self._lines = path.open("a")
        self._flush_every_s = flush_every_s
        self._flushed = time.monotonic()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """File numbers such as `train/loss` under a step, counted from 1."""
        entries = [{"tag": tag, "simple_value": value} for tag, value in values.items()]
        self._write_event(step=step, summary={"value": entries})
        line = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._lines.write(json.dumps({"step": step, **line}) + "\n")
        if time.monotonic() - self._flushed >= self._flush_every_s:
            self.flush()

    def flush(self) -> None:
        """Let readers see everything."""
        self._lines.flush()
        self._events.flush()
        self._flushed = time.monotonic()

    def close(self) -> None:
        """Write what is left."""
        if not self._lines.closed:
            self.flush()
            self._lines.close()
            self._events.close()

    def _open_events(self, folder: Path, *, first_step: int) -> None:
        """Open one more file of events; a resumed training tells TensorBoard what to purge."""
        self._proto = require("tensorboardX.proto.event_pb2", extra="train")
        folder.mkdir(parents=True, exist_ok=True)
        before = len(list(folder.glob("events.out.tfevents.*")))
        # TensorBoard reads the files in the order of their names.
        path = folder / f"events.out.tfevents.{int(time.time()):010d}.{before:04d}"
        self._events = require("tensorboardX", extra="train").RecordWriter(str(path))
        self._write_event(file_version="brain.Event:2")
        if before:
            self._write_event(step=first_step, session_log={"status": self._proto.SessionLog.START})

    def _write_event(self, **content: Any) -> None:
        event = self._proto.Event(wall_time=time.time(), **content)
        self._events.write(event.SerializeToString())


def read_scalars(run: Path) -> list[dict[str, Any]]:
    """Read the lines back, each with its `step`; a number that was not finite is None.

    A line that a kill cut short ends the reading; where there is no file, there are none.
    """
    path = run / SCALARS_FILE
    found = []
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def _drop_after(path: Path, step: int, *, is_validated: bool) -> None:
    def counts(line: dict[str, Any]) -> bool:
        is_lost = any(name.startswith(VALIDATION) for name in line) and not is_validated
        return bool(line["step"] < step or (line["step"] == step and not is_lost))

    if path.is_file():
        kept = [line for line in read_scalars(path.parent) if counts(line)]
        with atomic_file(path) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))
