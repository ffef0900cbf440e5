"""The demo's steps: each is a command that a user could type, run in the same process."""

import csv
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from istvt.errors import DataError, UsageError

LABELS = ("real", "fake")
MARKER_FILE = ".istvt-demo"


@dataclass(frozen=True)
class ScoredClip:
    """A line of the scores."""

    path: Path
    verdict: str
    fake_probability: float


@dataclass(frozen=True)
class Places:
    """Where the demo puts things: all but the run and its bundle under one folder.

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
        """What `istvt score` wrote of the test clips."""
        return self.folder / "scores.csv"

    def test_clips(self, label: str) -> list["ScoredClip"]:
        """Every test clip of a label with its score, the least fake first."""
        with self.scores.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        clips = [
            ScoredClip(Path(row["source"]), row["verdict"], float(row["fake_probability"]))
            for row in rows
            if Path(row["source"]).parent.name == label and row["fake_probability"]
        ]
        if not clips:
            raise DataError(f"no {label} clip of {self.data / 'test'} could be scored")
        return sorted(clips, key=lambda clip: clip.fake_probability)

    def held_out(self, label: str) -> Path:
        """The clip in the middle of its label's scores: neither the best nor the worst."""
        clips = self.test_clips(label)
        return clips[len(clips) // 2].path

    def overlay(self, label: str) -> Path:
        """The streamed clip with its overlay."""
        return self.folder / f"{label}_overlay.mp4"

    def lines(self, label: str) -> Path:
        """The streamed clip's scores."""
        return self.folder / f"{label}.jsonl"

    def picture(self, name: str) -> Path:
        """A picture for the page."""
        return self.folder / f"{name}.png"


@dataclass
class StepTimes:
    """How long each step took, in the order in which they ran."""

    echo: Callable[[str], None]
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def total_s(self) -> float:
        """Seconds of all steps so far."""
        return sum(self.seconds.values())

    @contextmanager
    def step(self, title: str, command: str = "") -> Iterator[None]:
        """Announce a step with the command that does the same, and time it."""
        self.echo(f"\n== {title}" + (f"\n$ {command}" if command else ""))
        start = time.perf_counter()
        yield
        self.seconds[title] = time.perf_counter() - start


def clear(places: Places) -> None:
    """Remove what an earlier demo left; nothing else is ever removed.

    Raises:
        UsageError: the folder holds something that no demo made.
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
