"""Progress and errors in, lines on the terminal out; only the command line uses this."""

import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

from istvt.errors import ExitCode, IstvtError
from istvt.records import Progress

SECONDS_A_LINE = 60.0  # where there is no terminal


@contextmanager
def stage_bars(*, unit: str | None = None) -> Iterator[Progress]:
    """Give a callback `(stage, done, total)` that draws one bar a stage on standard error.

    Where standard error is no terminal, each stage is one line when it starts, and one a minute
    while it goes on. A stage with a total of 0 is one line.

    Args:
        unit: of what is counted; its rate is then shown too.
    """
    if not sys.stderr.isatty():
        told: dict[str, float] = {}

        def report(stage: str, done: int, total: int) -> None:
            now = time.monotonic()
            if not total:
                typer.echo(f"  {stage} ...", err=True)
                return
            if stage not in told:
                typer.echo(f"{stage} ({total})", err=True)
            elif now - told[stage] < SECONDS_A_LINE:
                return
            else:
                typer.echo(f"{stage} ({done} of {total})", err=True)
            told[stage] = now

        yield report
        return
    from rich import progress as rich_progress
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        ProgressColumn,
        Task,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class RateColumn(ProgressColumn):
        """How many are done a second."""

        def render(self, task: Task) -> Text:
            rate = task.finished_speed or task.speed
            return Text(f"{rate:.1f} {unit}/s" if rate else "", style="progress.data.speed")

    columns: list[ProgressColumn] = [TextColumn("{task.description}"), BarColumn()]
    columns += [MofNCompleteColumn(), *([RateColumn()] if unit else [])]
    with rich_progress.Progress(
        *columns, TimeRemainingColumn(), console=Console(stderr=True)
    ) as bars:
        tasks: dict[str, TaskID] = {}

        def draw(stage: str, done: int, total: int) -> None:
            if not total:
                bars.console.print(f"  {stage} ...", markup=False, highlight=False)
                return
            if stage not in tasks:
                for name in [name for name, task in tasks.items() if is_finished(task)]:
                    bars.remove_task(tasks.pop(name))
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        def is_finished(task: TaskID) -> bool:
            return any(bar.id == task and bar.finished for bar in bars.tasks)

        yield draw


def run_app(app: Callable[..., object]) -> int:
    """Run the command line and turn what it raises into an exit code.

    Errors of `IstvtError` are messages for the user; any other is a bug and keeps its trace.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a supervisor's stop ends as Ctrl-C
    try:
        result = app(standalone_mode=False)
        return result if isinstance(result, int) else ExitCode.DONE
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("interrupted", err=True)
        return ExitCode.INTERRUPTED
    except IstvtError as error:
        typer.echo(f"error: {error}", err=True)
        return error.exit_code
    except PermissionError as error:
        typer.echo(f"error: no permission for {error.filename}: name another place", err=True)
        return ExitCode.ENVIRONMENT
    except Exception as error:
        show = getattr(error, "show", None)  # wrong usage; typer carries its own copy of click
        if show is None:
            raise
        show()
        return ExitCode.USAGE


def run_and_exit(app: Callable[..., object]) -> NoReturn:
    """Run the command line and end this process with its exit code.

    One that torchrun started with others ends at once, without taking Python apart: threads of its
    process group still run, and one in seven ended with SIGABRT (pytorch/pytorch#190489).
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        sys.exit(run_app(app))
    try:
        code = run_app(app)
    except Exception:  # noqa: BLE001  a bug, told as Python would
        traceback.print_exc()
        code = ExitCode.BUG
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
