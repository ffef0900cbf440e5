"""Read videos in several processes, and write a shard of each or say why there is none.

A decoder's crash or a lack of memory ends one process, and costs the video that it was reading.
Both ends of the conversation are here: the recipe is sent first, then one video after another.
"""

import json
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import LifoQueue
from threading import Lock
from typing import Any, TextIO, cast

from istvt.child import ChildEndedError, ChildProcess, serve_standard_streams
from istvt.data.prepared.crops import CropReader, UnwritableError
from istvt.data.prepared.face_recipe import FaceRecipe
from istvt.errors import RuntimeEnvironmentError, SourceError

START = "import sys; sys.path[:] = {path!r}; from istvt.data.prepared.readers import main; main()"


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

    Where it has died over a video, another one starts with the next.
    """

    def __init__(self, recipe: FaceRecipe) -> None:
        self._recipe = recipe
        self._lock = Lock()  # of `_child` and `_is_stopped`
        self._child: ChildProcess | None = None
        self._is_stopped = False

    def read(self, path: Path, shard: Path) -> str | None:
        """Write the shard of a video.

        Returns:
            Why nothing of the video can be read, or None.

        Raises:
            UnwritableError: the shard cannot be written.
            CancelledError: the reader was stopped meanwhile.
            RuntimeEnvironmentError: no process can be started.
        """
        child = self._child or self._start()
        child.send({"path": str(path), "shard": str(shard)})
        try:
            answer = child.receive()
        except ChildEndedError as error:
            self._bury(child)
            return f"the process that read it ended ({_describe(error)})"
        if "unwritable" in answer:
            raise UnwritableError(answer["unwritable"])
        return cast("str | None", answer["reason"])

    def stop(self) -> None:
        """Kill the process, from another thread perhaps; no other will start."""
        with self._lock:
            self._is_stopped = True
            if self._child is not None:
                self._child.kill()

    def close(self) -> None:
        """Let go of everything, once no thread reads any more."""
        self.stop()
        if self._child is not None:
            self._child.close()

    def _start(self) -> ChildProcess:
        failed = "a process that reads videos could not start"
        command = (sys.executable, "-c", START.format(path=sys.path))
        with self._lock:
            if self._is_stopped:
                raise CancelledError
            try:
                self._child = child = ChildProcess(command, timeout_s=None)
            except OSError as error:
                raise RuntimeEnvironmentError(f"{failed} ({error.strerror})") from error
        child.send(self._recipe.to_dict())
        try:
            child.receive()
        except ChildEndedError as error:
            self._bury(child)
            raise RuntimeEnvironmentError(f"{failed} ({_describe(error)})") from error
        return child

    def _bury(self, child: ChildProcess) -> None:
        """Forget a process that has ended."""
        child.close()
        with self._lock:
            self._child = None
            if self._is_stopped:
                raise CancelledError


def _describe(error: ChildEndedError) -> str:
    hint = ", as for lack of memory: try again with fewer --workers"
    ending = error.ending + (hint if error.code == -signal.SIGKILL else "")
    return ending + (error.last_words and f": {error.last_words}")


def main() -> None:
    """Be the process that reads videos, until its input ends."""
    serve_standard_streams(serve)


def serve(requests: Iterable[str], replies: TextIO) -> None:
    """Take the recipe, say that it is ready, and answer each video with why there is no shard."""
    lines = iter(requests)

    def answer(content: dict[str, Any]) -> None:
        print(json.dumps(content), file=replies, flush=True)

    reader = _make_reader(FaceRecipe.from_dict(json.loads(next(lines))))
    answer({"ready": True})
    for line in lines:
        answer(_read(json.loads(line), reader.write))


def _read(request: dict[str, Any], write: Callable[[Path, Path], None]) -> dict[str, Any]:
    try:
        write(Path(request["path"]), Path(request["shard"]))
    except SourceError as error:
        return {"reason": str(error)}
    except UnwritableError as error:
        return {"unwritable": str(error)}
    except Exception as error:  # noqa: BLE001  one video's fault must not end all the others
        return {"reason": f"reading failed with {type(error).__name__}: {error}"}
    return {"reason": None}


def _make_reader(recipe: FaceRecipe) -> CropReader:
    import cv2

    cv2.setNumThreads(1)  # there is a worker for each core
    return CropReader(recipe, decode_threads=1)
