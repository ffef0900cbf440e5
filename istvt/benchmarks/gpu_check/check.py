"""The process that runs checks: the name of one in, what it found out.

Started by `istvt.benchmarks.gpu_check.run` as `python -m istvt.benchmarks.gpu_check.check`.
"""

import json
import logging
import time
from collections.abc import Callable
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
        outcome = check(settings)
        values = {"status": outcome.status, "note": outcome.note, "figures": {**outcome.figures}}
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


def _is_out_of_memory(error: Exception) -> bool:
    """Tell PyTorch's error from others without importing it."""
    return type(error).__name__ == "OutOfMemoryError"


if __name__ == "__main__":
    serve_standard_streams(serve)
