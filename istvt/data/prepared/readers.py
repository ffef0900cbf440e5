"""Videos in, their shards on disk or the reason why there is none out, over several processes.

A decoder's crash or a lack of memory ends one process, and costs the video that it was reading.
"""

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from queue import LifoQueue
from threading import Lock
from typing import IO, Any, cast

from istvt.data.prepared.crops import UnwritableError
from istvt.data.prepared.face_recipe import FaceRecipe
from istvt.errors import RuntimeEnvironmentError

START = "import sys; sys.path[:] = {path!r}; from istvt.data.prepared.worker import main; main()"


def read_videos(
    jobs: Sequence[tuple[Path, Path]], recipe: FaceRecipe, *, workers: int
) -> Iterator[tuple[Path, str | None]]:
    """Write the shard of each video; give each shard's path when its video is done with.

    Leaving the loop early kills what is being read.

    Args:
        jobs: videos, and where their shards go.
        recipe: what to cut.
        workers: processes, each with a thread for everything.

    Yields:
        The shard's path, and why it was not written, or None.

    Raises:
        UnwritableError: there is no place for a shard.
        RuntimeEnvironmentError: processes end before they can read.
    """
    readers = [ReaderProcess(recipe) for _ in range(min(workers, len(jobs)))]
    idle: LifoQueue[ReaderProcess] = LifoQueue()  # those that have started come first
    for reader in readers:
        idle.put(reader)

    def read(path: Path, shard: Path) -> str | None:
        reader = idle.get()
        try:
            return reader.read(path, shard)
        finally:
            idle.put(reader)

    pool = ThreadPoolExecutor(max(len(readers), 1))
    try:
        shards = {pool.submit(read, path, shard): shard for path, shard in jobs}
        for job in as_completed(shards):
            yield shards[job], job.result()
    finally:
        for reader in readers:
            reader.stop()
        pool.shutdown(cancel_futures=True)
        for reader in readers:
            reader.close()


class ReaderProcess:
    """Reads one video after another in a process, which starts with the first of them.

    It is in a session of its own: Ctrl-C reaches only the parent, which kills it. Where it has died
    over a video, another one starts with the next.
    """

    def __init__(self, recipe: FaceRecipe) -> None:
        self._recipe = recipe
        self._lock = Lock()  # of `_process` and `_is_stopped`
        self._process: subprocess.Popen[bytes] | None = None
        self._is_stopped = False
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed by `close`

    def read(self, path: Path, shard: Path) -> str | None:
        """Write the shard of a video.

        Returns:
            Why nothing of the video can be read, or None.

        Raises:
            UnwritableError: the shard cannot be written.
            CancelledError: the reader was stopped meanwhile.
            RuntimeEnvironmentError: no process can be started.
        """
        process = self._process or self._start()
        answer = _ask(process, {"path": str(path), "shard": str(shard)})
        if answer is None:
            return f"the process that read it ended ({self._bury(process)})"
        if "unwritable" in answer:
            raise UnwritableError(answer["unwritable"])
        return cast("str | None", answer["reason"])

    def stop(self) -> None:
        """Kill the process, from another thread perhaps; no other will start."""
        with self._lock:
            self._is_stopped = True
            if self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """Let go of everything, once no thread reads any more."""
        self.stop()
        if self._process is not None:
            _close(self._process)
        self._stderr.close()

    def _start(self) -> "subprocess.Popen[bytes]":
        with self._lock:
            if self._is_stopped:
                raise CancelledError
            self._process = process = subprocess.Popen(
                (sys.executable, "-c", START.format(path=sys.path)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                start_new_session=True,
            )
        if _ask(process, self._recipe.to_dict()) is None:
            raise RuntimeEnvironmentError(
                f"a process that reads videos could not start ({self._bury(process)})"
            )
        return process

    def _bury(self, process: "subprocess.Popen[bytes]") -> str:
        """Say how a process ended, and forget it."""
        code = _close(process)
        with self._lock:
            self._process = None
            if self._is_stopped:
                raise CancelledError
        self._stderr.seek(0)
        last_words = self._stderr.read().decode(errors="replace").strip().splitlines()[-1:]
        self._stderr.truncate(0)
        return _describe(code) + "".join(f": {line}" for line in last_words)


def _ask(process: "subprocess.Popen[bytes]", request: dict[str, Any]) -> dict[str, Any] | None:
    """Give the answer to a request, or None where the process ended."""
    sent, received = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
    with suppress(BrokenPipeError):
        sent.write(json.dumps(request).encode() + b"\n")
        sent.flush()
    line = received.readline()
    return json.loads(line) if line.endswith(b"\n") else None


def _close(process: "subprocess.Popen[bytes]") -> int:
    """Wait for a process that has ended or was killed; give its exit code."""
    for stream in (process.stdin, process.stdout):
        with suppress(BrokenPipeError):  # a request that it did not live to read
            cast(IO[bytes], stream).close()
    return process.wait()


def _describe(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    if -code == signal.SIGKILL:
        return "killed by SIGKILL, as for lack of memory: try again with fewer --workers"
    return f"killed by {signal.Signals(-code).name}"
