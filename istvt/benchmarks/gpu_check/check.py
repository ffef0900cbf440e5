"""The process that runs checks: the name of one in, what it found out.

Started by `istvt.benchmarks.gpu_check.run` as `python -m istvt.benchmarks.gpu_check.check`.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, TextIO, TypeAlias

from istvt.benchmarks.child import serve_standard_streams
from istvt.benchmarks.gpu_check.result import CannotRunError, Outcome, Settings
from istvt.errors import MissingExtraError

Check: TypeAlias = Callable[[Settings], Outcome]

logger = logging.getLogger(__name__)


def run_check(check: Check, settings: Settings) -> dict[str, Any]:
    """Run a check; what it raises becomes its result.

    Returns:
        Status, note, figures and seconds; `broken` where the process should not be used again.
    """
    start_s = time.perf_counter()
    broken = False
    try:
        with _warnings() as told:
            outcome = check(settings)
        note = "; ".join(filter(None, (outcome.note, *dict.fromkeys(told))))
        values = {"status": outcome.status, "note": note, "figures": {**outcome.figures}}
    except (CannotRunError, MissingExtraError) as error:
        values = {"status": "not run", "note": str(error), "figures": {}}
    except Exception as error:
        if _is_out_of_memory(error):
            values = {"status": "not run", "note": "the GPU's memory is too small", "figures": {}}
        else:
            logger.exception("the check failed")
            broken = True
            note = f"{type(error).__name__}: {error}"
            values = {"status": "fail", "note": note, "figures": {}}
    return {**values, "seconds": time.perf_counter() - start_s, "broken": broken}


def serve(requests: TextIO, replies: TextIO) -> None:
    """Answer each line with one line."""
    for line in requests:
        request = json.loads(line)
        check: Check = import_module(request["module"]).CHECKS[request["check"]]
        answer = run_check(check, Settings(**request["settings"]))
        print(json.dumps(answer), file=replies, flush=True)


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Gather what istvt warns of: a way that was given up must not look like one that was taken."""
    told: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: told.append(" ".join(record.getMessage().split()))  # type: ignore[method-assign]
    logging.getLogger("istvt").addHandler(handler)
    try:
        yield told
    finally:
        logging.getLogger("istvt").removeHandler(handler)


def _is_out_of_memory(error: Exception) -> bool:
    """Tell PyTorch's error from others without importing it."""
    return type(error).__name__ == "OutOfMemoryError"


if __name__ == "__main__":
    serve_standard_streams(serve)
