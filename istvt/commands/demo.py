"""`istvt demo`: run every step of the product once and write a page about it."""

from pathlib import Path
from typing import Annotated

import typer

from istvt.console import stage_bars
from istvt.errors import ExitCode

WARNING = (
    "This model is a toy, trained on {faces}: it learnt in about a minute, from random weights, "
    "to distinguish animated portraits from blended copies of them. It knows nothing about real "
    "deepfakes or other people, so its verdicts mean nothing outside this demo."
)


def demo(
    out: Annotated[Path, typer.Option(help="Folder for clips, pictures and page.")] = Path("demo"),
    portraits: Annotated[
        Path | None,
        typer.Option(help="Folder of pictures with one face each. Default: scikit-image's."),
    ] = None,
    train_s: Annotated[float, typer.Option(min=1, help="Training time in seconds.")] = 60.0,
    seed: Annotated[int, typer.Option(help="Decides clips and weights.")] = 0,
) -> int:
    """Make clips, train, export, stream, bench and write a page; takes minutes on any CPU."""
    from istvt.demo.page import write_page
    from istvt.demo.places import Places, clear
    from istvt.demo.sections import make_sections
    from istvt.demo.story import Teller, run_demo

    places = Places(folder=out, run=Path("runs/demo"))
    clear(places)
    teller = Teller(say=typer.echo, bars=stage_bars)
    story = run_demo(places, portraits, train_s=train_s, seed=seed, teller=teller)
    faces = "one face" if story.portraits == 1 else f"{story.portraits} faces"
    warning = WARNING.format(faces=faces)
    sections = make_sections(places, story)
    write_page(places.page, title="istvt demo", warning=warning, sections=sections)
    total_s = sum(story.seconds.values())
    typer.echo(f"\n{warning}\n\nwrote {places.page} in {total_s:.0f} s; next:")
    for command in ("istvt export", "istvt bench", "istvt stream --camera 0"):
        typer.echo(f"  {command}")
    return ExitCode.DONE
