"""Read videos in several processes, and write a shard of each or report why not.

A decoder's crash or a lack of memory ends one process and loses only the video it was reading. This
module holds both ends of the protocol: first comes the recipe, then one video after another.
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
    """Write the shard of each video, and yield each shard's path once its video is done.

    Leaving the loop early kills the readers.

    Args:
        jobs: pairs of a video and its shard's path.
        recipe: how faces are cropped.
        workers: processes, each with a single thread.

    Yields:
        The shard's path, and why it was not written, or None.

    Raises:
        UnwritableError: a shard cannot be written.
        RuntimeEnvironmentError: processes end before they can read.
    """
    readers = [ReaderProcess(recipe) for _ in range(min(workers, len(jobs)))]
    idle: LifoQueue[ReaderProcess] = LifoQueue()  # reuse started ones first
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
    """Reads one video after another in a process, which starts with the first video.

    If a video kills the process, another one starts with the next video.
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
        """Kill the process and start no other; may be called from another thread."""
        with self._lock:
            self._is_stopped = True
            if self._child is not None:
                self._child.kill()

    def close(self) -> None:
        """Release the process, once no thread reads any more."""
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
    hint = ", perhaps for lack of memory: try again with fewer --workers"
    ending = error.ending + (hint if error.code == -signal.SIGKILL else "")
    return ending + (error.last_words and f": {error.last_words}")


def main() -> None:
    """Read videos on requests from standard input, until it ends."""
    serve_standard_streams(serve)


def serve(requests: Iterable[str], replies: TextIO) -> None:
    """Read the recipe, report that this process is ready, and answer each video."""
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
