"""A process that reads videos: paths in on standard input, shards out.

It is told the recipe, says that it is ready, and then answers each video with why there is no
shard, or null. It ends at once when its input ends, which also a killed parent's does.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import IO, Any

from istvt.data.prepared.crops import CropReader, UnwritableError
from istvt.data.prepared.face_recipe import FaceRecipe
from istvt.errors import SourceError

Request = dict[str, Any]


def main() -> None:
    """Serve until the input ends."""
    answers = _take_standard_output()
    requests: SimpleQueue[Request] = SimpleQueue()
    Thread(target=_listen, args=(sys.stdin, requests), daemon=True).start()

    def answer(content: Request) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    reader = _make_reader(FaceRecipe.from_dict(requests.get()))
    answer({"ready": True})
    while True:
        answer(_serve(requests.get(), reader.write))


def _serve(request: Request, write: Callable[[Path, Path], None]) -> Request:
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


def _take_standard_output() -> IO[str]:
    """Keep the answers' pipe to ourselves; what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def _listen(stream: IO[str], requests: "SimpleQueue[Request]") -> None:
    for line in stream:
        requests.put(json.loads(line))
    os._exit(0)
