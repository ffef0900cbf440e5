"""Name the demo's files, and remove those of an earlier demo."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from istvt.errors import UsageError

MARKER_FILE = ".istvt-demo"


@dataclass(frozen=True)
class Places:
    """The demo's files: all but the run and its bundle are in one folder.

    Attributes:
        run: under `runs/`, where `istvt export` looks for the newest run.
    """

    folder: Path
    run: Path

    @property
    def data(self) -> Path:
        """The clips, in the plain layout."""
        return self.folder / "data"

    @property
    def bundle(self) -> Path:
        """The exported model, beside the run."""
        return self.run.with_name(self.run.name + ".istvt")

    @property
    def page(self) -> Path:
        """The report."""
        return self.folder / "index.html"

    @property
    def scores(self) -> Path:
        """The verdicts on the test clips, as `istvt score` writes them."""
        return self.folder / "scores.csv"

    @property
    def overview(self) -> Path:
        """Both streamed clips side by side, small enough for a README."""
        return self.folder / "overlay.jpg"

    def overlay(self, label: str) -> Path:
        """The streamed clip with its overlay."""
        return self.folder / f"{label}_overlay.mp4"

    def lines(self, label: str) -> Path:
        """The streamed clip's scores."""
        return self.folder / f"{label}.jsonl"

    def picture(self, name: str) -> Path:
        """A picture for the page."""
        return self.folder / f"{name}.png"


def clear(places: Places) -> None:
    """Remove an earlier demo's files and nothing else.

    Raises:
        UsageError: a folder holds files that no demo made.
    """
    if _holds_others(places.folder):
        raise UsageError(
            f"{places.folder} holds files that no demo made: name another folder with --out"
        )
    if _holds_others(places.run) or (places.bundle.exists() and not places.run.exists()):
        raise UsageError(
            f"{places.run} or {places.bundle} is not a demo's: rename it, or run in another folder"
        )
    for folder in (places.folder, places.run, places.bundle):
        if folder.exists():
            shutil.rmtree(folder)
    for folder in (places.folder, places.run):
        folder.mkdir(parents=True)
        (folder / MARKER_FILE).touch()


def _holds_others(folder: Path) -> bool:
    return folder.exists() and any(folder.iterdir()) and not (folder / MARKER_FILE).exists()
