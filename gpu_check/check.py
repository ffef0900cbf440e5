"""The process that runs checks: the name of one in, what it found out.

Started by `gpu_check.run` as `python -m gpu_check.check`. What a
check prints goes to a file of its own; so does where it stood when it crashed or hung.
"""

import faulthandler
import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from textwrap import shorten
from typing import Any, TextIO, TypeAlias

from gpu_check.result import CannotRunError, Outcome, Settings
from istvt.child import serve_standard_streams
from istvt.compute import device_error
from istvt.errors import DeviceMemoryError, MissingExtraError

Check: TypeAlias = Callable[[Settings], Outcome]

TRACE_CHARS, NOTE_CHARS = 6000, 120
PYTORCH_IS_FULL = "OutOfMemoryError"  # its process can go on
HANGS_AT = 0.8  # of the time that a check is given, its stack is printed


def run_check(check: Check, settings: Settings) -> dict[str, Any]:
    """Run a check; what it raises becomes its result.

    Returns:
        Status, note, figures, trace and seconds; `broken` where the process should not be used
        again.
    """
    start_s = time.perf_counter()
    broken = False
    values: dict[str, Any]
    try:
        with gather_warnings() as told:
            outcome = check(settings)
        note = "; ".join(filter(None, (outcome.note, *dict.fromkeys(told))))
        values = {"status": outcome.status, "note": note, "figures": {**outcome.figures}}
    except (CannotRunError, MissingExtraError) as error:
        values = {"status": "not run", "note": str(error), "figures": {}}
    except Exception as error:  # noqa: BLE001  whatever it is, it is a row
        broken = type(error).__name__ != PYTORCH_IS_FULL
        if _is_out_of_memory(error):
            note = f"the GPU's memory is too small: {shorten(str(error), NOTE_CHARS)}"
            values = {"status": "not run", "note": note, "figures": {}}
        else:
            note = f"{type(error).__name__}: {error}"
            trace = "".join(traceback.format_exception(error))[-TRACE_CHARS:]
            values = {"status": "fail", "note": note, "figures": {}, "trace": trace}
    return {**values, "seconds": time.perf_counter() - start_s, "broken": broken}


def serve(requests: Iterable[str], replies: TextIO) -> None:
    """Answer each line with one line."""
    for line in requests:
        request = json.loads(line)
        _print_to(request["log"])
        faulthandler.dump_traceback_later(HANGS_AT * request["timeout_s"])
        check: Check = import_module(request["module"]).CHECKS[request["check"]]
        answer = run_check(check, Settings(**request["settings"]))
        faulthandler.cancel_dump_traceback_later()
        print(json.dumps(answer), file=replies, flush=True)


def _print_to(log: str) -> None:
    """Let all that this process and native libraries print go to a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    with Path(log).open("wb") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)


@contextmanager
def gather_warnings() -> Iterator[list[str]]:
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
    """Tell an allocation that failed from other errors, whichever library says so."""
    if isinstance(error, DeviceMemoryError) or type(error).__name__ == PYTORCH_IS_FULL:
        return True
    return isinstance(device_error("", str(error)), DeviceMemoryError)


if __name__ == "__main__":
    faulthandler.enable(all_threads=False)  # the one that crashes
    serve_standard_streams(serve)
