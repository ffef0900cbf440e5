"""`istvt demo`: every step of the product, one after another, and a page about it."""

import contextlib
import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from istvt.commands import evaluate, measure, train, watch
from istvt.commands import export as build
from istvt.console import stage_bars
from istvt.errors import ExitCode, GateError

if TYPE_CHECKING:
    from istvt.demo.story import Places, StepTimes

WARNING = (
    "This model is a toy, trained on {faces}: it learnt in about a minute, from random weights, "
    "to tell animated portraits from blended copies of them. It knows nothing of real deepfakes "
    "or of other people, so its verdicts mean nothing outside this demo."
)
BAND = 0.1


def demo(
    out: Annotated[Path, typer.Option(help="Folder for clips, pictures and page.")] = Path("demo"),
    portraits: Annotated[
        Path | None,
        typer.Option(help="Folder of pictures with one face each. Default: scikit-image's."),
    ] = None,
    train_s: Annotated[float, typer.Option(min=1, help="Seconds of training.")] = 60.0,
    seed: Annotated[int, typer.Option(help="Fixes clips and weights.")] = 0,
) -> int:
    """Make clips, train, export, stream, bench, and write one page; minutes on any CPU."""
    from istvt.demo.story import LABELS, Places, StepTimes, clear

    places = Places(folder=out, run=Path("runs/demo"))
    clear(places)
    times = StepTimes(echo=typer.echo)
    with times.step("clips: talking heads, and fakes blended from them"):
        faces = _make_clips(places, portraits, seed=seed)
    with times.step(
        "training from random weights",
        f"istvt train {places.data} --out {places.run} --preset tiny --budget-s {train_s:g}",
    ):
        _check(train.train(places.data, places.run, preset="tiny", budget_s=train_s, seed=seed))
    with times.step("test split", f"istvt evaluate --data {places.data} --model {places.run}"):
        test_result = _kept(lambda: evaluate.evaluate(places.data, places.run))
    with times.step("export", f"istvt export --model {places.run}"):
        _check(build.export(places.run))
    with times.step(
        "all test clips",
        f"istvt score {places.data / 'test'} --model {places.bundle} --format csv "
        f"--output {places.scores}",
    ):
        _score(places)
    for label in LABELS:
        _stream(places, label, times)
    with times.step("latency", f"istvt bench --model {places.bundle} --quick"):
        chart = places.picture("bench")
        bench_table = _kept(lambda: measure.bench(places.bundle, quick=True, png=chart))
    warning = WARNING.format(faces="one face" if faces == 1 else f"{faces} faces")
    _write_page(
        places,
        times,
        warning=warning,
        test_result=test_result,
        bench_table=bench_table,
    )
    typer.echo(f"\n{warning}\n\nwrote {places.page} in {times.total_s:.0f} s; next:")
    for command in ("istvt export", "istvt bench", "istvt stream --camera 0"):
        typer.echo(f"  {command}")
    return ExitCode.DONE


def _make_clips(places: "Places", portraits: Path | None, *, seed: int) -> int:
    from istvt.data.synthetic.generate import find_portraits, make_dataset
    from istvt.faces.mtcnn import MtcnnDetector

    found = find_portraits(portraits, detect=MtcnnDetector().detect)
    with stage_bars() as progress:
        make_dataset(places.data, found, seed=seed, progress=progress)
    return len(found)


def _score(places: "Places") -> None:
    from istvt.demo.story import LABELS

    _check(
        watch.score(
            [places.data / "test"],
            model=places.bundle,
            format=watch.ScoreFormat.CSV,
            output=places.scores,
            band=BAND,
        )
    )
    for label in LABELS:
        counts = Counter(clip.verdict for clip in places.test_clips(label))
        said = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
        typer.echo(f"{label} clips: {said}")


def _stream(places: "Places", label: str, times: "StepTimes") -> None:
    clip, overlay, lines = places.held_out(label), places.overlay(label), places.lines(label)
    command = (
        f"istvt stream --source {clip} --model {places.bundle} --save {overlay} --json {lines}"
    )
    with times.step(f"streaming a held-out {label} clip", command):
        _check(
            watch.stream(
                source=str(clip), model=places.bundle, save=overlay, json=str(lines), band=BAND
            )
        )


def _check(code: int) -> None:
    """Stop the demo where a step was stopped or failed."""
    if code == ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    if code not in (ExitCode.DONE, ExitCode.INCOMPLETE):
        raise GateError(f"a step of the demo ended with exit code {code}; its message is above")


def _kept(command: Callable[[], int]) -> str:
    """Run a command, print what it prints, and give it back for the page."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        code = command()
    typer.echo(text.getvalue(), nl=False)
    _check(code)
    return text.getvalue()


def _write_page(places: "Places", times: "StepTimes", *, warning: str, **outputs: str) -> None:
    from istvt.demo.page import write_page
    from istvt.demo.sections import make_sections

    sections = make_sections(places, band=BAND, seconds=times.seconds, **outputs)
    write_page(places.page, title="istvt demo", warning=warning, sections=sections)
