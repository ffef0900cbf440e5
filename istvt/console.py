"""Show progress and errors on the terminal, for the command line only."""

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

SECONDS_A_LINE = 60.0  # without a terminal


@contextmanager
def stage_bars(*, unit: str | None = None) -> Iterator[Progress]:
    """Yield a callback `(stage, done, total)` that draws one bar per stage on standard error.

    If standard error is not a terminal, each stage prints a line when it starts, and then one per
    minute. A stage with a total of 0 prints a single line.

    Args:
        unit: what is counted; if given, its rate is shown too.
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
        """Shows the rate per second."""

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
    """Run the command line and turn its exceptions into an exit code.

    An `IstvtError` is a message for the user. Any other exception is a bug and keeps its traceback.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a supervisor's stop is like Ctrl-C
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
        typer.echo(f"error: no permission for {error.filename}: choose another path", err=True)
        return ExitCode.ENVIRONMENT
    except Exception as error:
        show = getattr(error, "show", None)  # wrong usage; typer carries its own copy of click
        if show is None:
            raise
        show()
        return ExitCode.USAGE


def run_and_exit(app: Callable[..., object]) -> NoReturn:
    """Run the command line and exit this process with its exit code.

    A process started by torchrun exits at once, without Python's clean-up. Threads of its process
    group still run, and one clean-up in seven ended with SIGABRT (pytorch/pytorch#190489).
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        sys.exit(run_app(app))
    try:
        code = run_app(app)
    except Exception:  # noqa: BLE001  a bug, reported as Python would
        traceback.print_exc()
        code = ExitCode.BUG
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
