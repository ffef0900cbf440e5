"""Run a process that answers requests as JSON lines; holds the parent's and the child's side."""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import IO, Any, TextIO, cast

from istvt.errors import BackendError

ANSWER_TIMEOUT_S = 600.0


class ChildEndedError(BackendError):
    """A process ended in place of an answer.

    Attributes:
        code: its exit code, or the signal that killed it as a negative number.
        last_words: the last line that it wrote to standard error; empty if there is none.
    """

    def __init__(self, code: int, last_words: str) -> None:
        self.code, self.last_words = code, last_words
        super().__init__(f"its process ended: {self.ending}" + (last_words and f": {last_words}"))

    @property
    def ending(self) -> str:
        """Return how the process ended."""
        if self.code < 0:
            return f"killed by {signal.Signals(-self.code).name}"
        return f"with exit code {self.code}"


class ChildProcess:
    """A process in its own session.

    Ctrl-C in the terminal therefore reaches only the parent, which kills its children. The death of
    the parent closes their input. They then exit at once, unless native code keeps Python from
    running.

    Args:
        command: starts the process.
        timeout_s: longest wait for an answer, unless `receive` is called with another; None waits
            as long as the process lives.

    Attributes:
        pid: id of the process, and of the process group of all that it starts.
    """

    def __init__(
        self, command: Sequence[str], *, timeout_s: float | None = ANSWER_TIMEOUT_S
    ) -> None:
        self._timeout_s = timeout_s
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  closed by `close`
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._stdin = cast(IO[bytes], self._process.stdin)
        self._stdout = cast(IO[bytes], self._process.stdout)

    def send(self, request: dict[str, Any]) -> None:
        """Send a request."""
        with suppress(BrokenPipeError):  # it ended; `receive` will report how
            self._stdin.write(json.dumps(request).encode() + b"\n")
            self._stdin.flush()

    def receive(self, *, timeout_s: float | None = None) -> dict[str, Any]:
        """Wait for the next answer.

        Raises:
            ChildEndedError: the process ended.
            BackendError: the process answers with an error, or is silent for too long.
        """
        patience_s = self._timeout_s if timeout_s is None else timeout_s
        readable, _, _ = select.select([self._stdout], [], [], patience_s)
        if not readable:
            raise BackendError(f"no answer from its process in {patience_s:.0f} s")
        line = self._stdout.readline()
        if not line.endswith(b"\n"):
            raise ChildEndedError(self._process.wait(), self._last_words())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise BackendError(answer["error"])
        return answer

    def close(self) -> None:
        """Kill it and all that it started; it holds nothing that could be lost."""
        if self._stdin.closed:
            return
        self.kill()
        self._process.wait()
        for stream in (self._stdin, self._stdout, self._stderr):
            with suppress(BrokenPipeError):  # a request that it never read
                stream.close()

    def kill(self) -> None:
        """Kill it and what it started; may be called while another thread waits for an answer."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def _last_words(self) -> str:
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""


def serve_standard_streams(serve: Callable[[Iterable[str], TextIO], None]) -> None:
    """Serve requests of the parent; redirect libraries' prints to standard error."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(_until_orphaned(sys.stdin), replies)


def _until_orphaned(requests: TextIO) -> Iterator[str]:
    """Yield lines as they arrive; at their end, kill this process and all that it started.

    A killed parent must not leave behind a hanging kernel that holds the GPU.
    """
    lines = SimpleQueue[str]()

    def read() -> None:
        for line in requests:
            lines.put(line)
        if os.getpgrp() == os.getpid():  # if its parent started it so
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    Thread(target=read, daemon=True).start()
    while True:
        yield lines.get()
