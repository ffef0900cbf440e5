"""Record a training's scalars by step, as TensorBoard events and as lines of JSON.

Events are written at once through tensorboardX's record writer. Its `SummaryWriter` queues them
for a thread: a flush returns before they are written. On a full disk the thread ends, and the queue
blocks the training.
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
VALIDATION = "val/"  # prefix of the scalars from validation


class Tracker(ClosesOnExit):
    """Writes a run folder's `tensorboard/` and `scalars.jsonl`.

    Every scalar, including those of validation, is recorded under the number of steps taken before
    it. A resumed training can thus discard those that no longer count.

    Args:
        run: the run folder.
        resumed_at: step from which the training resumes. Later steps, written before a kill, are
            dropped from the lines, and an event makes TensorBoard purge them.
        is_validated: whether the validation after `resumed_at` counts too. Otherwise its lines are
            dropped, because it will run again.
        flush_every_s: seconds until readers can see what was written.

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
        """Record scalars such as `train/loss` under a step, counted from 1."""
        entries = [{"tag": tag, "simple_value": value} for tag, value in values.items()]
        self._write_event(step=step, summary={"value": entries})
        line = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._lines.write(json.dumps({"step": step, **line}) + "\n")
        if time.monotonic() - self._flushed >= self._flush_every_s:
            self.flush()

    def flush(self) -> None:
        """Make everything visible to readers."""
        self._lines.flush()
        self._events.flush()
        self._flushed = time.monotonic()

    def close(self) -> None:
        """Write what remains and close the files."""
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
    """Read the lines back, each with its `step`; a non-finite scalar is None.

    Reading stops at a line that a kill truncated. Without a file, there are no lines.
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
