"""Measure rows and run tests in a process of their own; started by `gpu_check.jobs`.

Each answer waits for the next request. What is printed goes to the log; so do tracebacks, and the
stack of a process that crashes or hangs.
"""

import faulthandler
import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from textwrap import shorten
from typing import Any, TextIO, TypeAlias

from gpu_check.subject import (
    SETTINGS_VARIABLE,
    CannotRunError,
    Settings,
    build_listeners,
    is_out_of_memory,
)
from gpu_check.table import Row
from istvt.child import serve_standard_streams
from istvt.errors import MissingExtraError
from istvt.extras import require

Tell: TypeAlias = Callable[..., None]

REASON_CHARS = 200
PYTORCH_IS_FULL = "OutOfMemoryError"  # its process can be used again
HANGS_AT = 0.8  # of the time that a row is given, its stack is printed
RECORDED = ("subject", "dtype", "batch", "value", "unit", "note")  # other names are figures


def serve(requests: Iterable[str], replies: TextIO) -> None:
    """Answer each job with its rows, one line for one request, and then with its end."""
    lines = iter(requests)

    def tell(**answer: Any) -> None:
        print(json.dumps(answer), file=replies, flush=True)
        next(lines)

    build_listeners.append(lambda what: tell(builds=what))
    for line in lines:
        job = json.loads(line)
        row = Row(**job["row"])
        _print_to(Path(job["log"]), f"\n=== {row.part}: {row.name} {row.subject} {row.dtype}\n")
        run = run_tests if job["function"].endswith(".py") else measure
        print(json.dumps(run(job, row, tell)), file=replies, flush=True)


def measure(job: Mapping[str, Any], row: Row, tell: Tell) -> dict[str, Any]:
    """Call a measuring function; what it raises becomes its row."""
    start_s, broken = time.perf_counter(), False
    module, _, name = job["function"].partition(":")
    faulthandler.dump_traceback_later(HANGS_AT * job["timeout_s"])
    try:
        function = getattr(import_module(module), name)
        with gather_warnings() as told:
            row = function(Settings(**job["settings"]), row)
        row = replace(row, note="; ".join(filter(None, (row.note, *dict.fromkeys(told)))))
    except Exception as error:  # noqa: BLE001  whatever it is, it is a row
        row = replace(row, **describe_error(error))
        broken = breaks_process(error)
    faulthandler.cancel_dump_traceback_later()
    tell(row=asdict(replace(row, seconds=time.perf_counter() - start_s)))
    return {"end": "", "broken": broken}


def describe_error(error: BaseException) -> dict[str, Any]:
    """Tell what this machine lacks from what is wrong; print where that came from."""
    if isinstance(error, CannotRunError | MissingExtraError):
        return {"status": "not run", "reason": str(error)}
    traceback.print_exception(error)
    sys.stderr.flush()
    text = shorten(str(error), REASON_CHARS)
    if is_out_of_memory(error):
        return {"status": "not run", "reason": f"the GPU's memory is too small: {text}"}
    return {"status": "fail", "reason": f"{type(error).__name__}: {text}"}


def breaks_process(error: BaseException) -> bool:
    """Say whether the GPU may be lost to the process that raised this."""
    kept = (CannotRunError, MissingExtraError, AssertionError)
    return not isinstance(error, kept) and type(error).__name__ != PYTORCH_IS_FULL


def run_tests(job: Mapping[str, Any], row: Row, tell: Tell) -> dict[str, Any]:
    """Run a file of tests, less those that are done, until one breaks the process."""
    try:
        pytest = require("pytest", extra="dev")
    except MissingExtraError as error:
        tell(row=asdict(replace(row, reason=str(error))))
        return {"end": "", "broken": False}
    rows = RowsOfTests(job, row, tell, pytest.skip.Exception)
    options = ("-q", "-s", "-rN", "--tb=short", "-p", "no:cacheprovider", "-p", "no:faulthandler")
    os.environ[SETTINGS_VARIABLE] = json.dumps(job["settings"])
    code = pytest.main([*options, job["function"]], plugins=[rows])
    return {"end": f"pytest ran no test, its exit code is {code:d}", "broken": rows.is_broken}


class RowsOfTests:
    """A plugin of pytest that tells the rows of tests."""

    def __init__(
        self, job: Mapping[str, Any], row: Row, tell: Tell, skipped: type[BaseException]
    ) -> None:
        self._job, self._blank, self._tell, self._skipped = job, row, tell, skipped
        self._error: BaseException | None = None
        self._start_s = 0.0
        self.is_broken = False

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Keep the tests of the subject that are not done."""
        rows = {item.name: self._row(item) for item in items}
        asked = self._blank.subject, self._blank.dtype
        items[:] = [
            item
            for item in items
            if item.name not in self._job["done"]
            and asked in (("", ""), (rows[item.name].subject, rows[item.name].dtype))
        ]
        if items:
            self._tell(rows=[asdict(rows[item.name]) for item in items])

    def pytest_runtest_logstart(self) -> None:
        """Watch over a test that begins."""
        self._error, self._start_s = None, time.perf_counter()
        faulthandler.dump_traceback_later(HANGS_AT * self._job["timeout_s"])

    def pytest_runtest_makereport(self, item: Any, call: Any) -> None:
        """Keep the first error of a test; tell its row when it is through."""
        if call.excinfo is not None and self._error is None:
            self._error = call.excinfo.value
        if call.when == "teardown":
            faulthandler.cancel_dump_traceback_later()
            seconds = time.perf_counter() - self._start_s
            self._tell(row=asdict(replace(self._row(item), **self._result(), seconds=seconds)))
            if self.is_broken:
                item.session.shouldstop = "the GPU may be lost to this process"

    def _result(self) -> dict[str, Any]:
        if self._error is None:
            return {"status": "pass"}
        if isinstance(self._error, self._skipped):
            return {"status": "not run", "reason": str(self._error)}
        self.is_broken = breaks_process(self._error)
        return describe_error(self._error)

    def _row(self, item: Any) -> Row:
        """Fill a row from the parameters of a test and from what it recorded."""
        given = dict(item.callspec.params) if hasattr(item, "callspec") else {}
        subject = given.get("subject")
        if subject is not None:
            given |= {"subject": subject.name, "dtype": subject.precision}
        given |= dict(item.user_properties)
        known = {name: value for name, value in given.items() if name in RECORDED}
        figures = {name: value for name, value in item.user_properties if name not in RECORDED}
        return replace(Row(self._blank.part, item.name, figures=figures), **known)


def _print_to(log: Path, title: str) -> None:
    """Let all that this process and native libraries print go behind a title in the log."""
    sys.stdout.flush()
    sys.stderr.flush()
    with log.open("ab") as file:
        file.write(title.encode())
        file.flush()
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


if __name__ == "__main__":
    faulthandler.enable(all_threads=False)  # the one that crashes
    serve_standard_streams(serve)
