"""Run the demo's steps: make clips, train, evaluate, export, score, stream, measure."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from istvt import api
from istvt.data.dataset import DataRequest
from istvt.demo.places import Places
from istvt.errors import BackendError, DataError
from istvt.presets import TINY, CropRecipe, ModelConfig
from istvt.records import Progress
from istvt.runtime.session import SessionReport, Sink
from istvt.runtime.sinks.report import format_session, to_csv
from istvt.training.run.recipe import DEMO_RECIPE

if TYPE_CHECKING:
    from istvt.benchmarks.report import BenchReport
    from istvt.evaluation.report import Report
    from istvt.export.build import Exported
    from istvt.runtime.pipeline import FrameResult
    from istvt.training.fit import FitResult

LABELS = ("real", "fake")
JUDGING = api.Judging()


@dataclass(frozen=True)
class Teller:
    """How the demo reports progress: lines of text, and bars for long steps."""

    say: Callable[[str], None]
    bars: Callable[[], AbstractContextManager[Progress]]


@dataclass(frozen=True)
class StreamedClip:
    """The results of streaming one clip.

    Attributes:
        label: real or fake.
        windows: `(time_s, fake probability, running probability)` of each window.
    """

    label: str
    windows: tuple[tuple[float, float, float], ...]
    report: SessionReport


@dataclass(frozen=True)
class Story:
    """The results of all steps; `seconds` holds each step's duration, in order.

    Attributes:
        portraits: the number of faces that the clips were made of.
        scored: by label, reports on the test clips, the least fake first.
        streamed: by label, the clip in the middle of its label's scores.
    """

    portraits: int
    trained: "FitResult"
    tested: "Report"
    exported: "Exported"
    scored: dict[str, list[SessionReport]]
    streamed: "dict[str, StreamedClip]"
    measured: "BenchReport"
    seconds: dict[str, float]


@dataclass
class _Steps:
    """Prints each step's title and equivalent command, and times it."""

    say: Callable[[str], None]
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, title: str, command: str = "") -> Iterator[None]:
        self.say(f"\n== {title}" + (f"\n$ {command}" if command else ""))
        start = time.perf_counter()
        yield
        self.seconds[title] = time.perf_counter() - start


def run_demo(
    places: Places, portraits: Path | None, *, train_s: float, seed: int, teller: Teller
) -> Story:
    """Run all steps.

    Args:
        places: where to write; already cleared.
        portraits: a folder of pictures with one face each; None uses scikit-image's.
        train_s: training time in seconds.
        seed: decides clips and weights.
        teller: reports progress.

    Raises:
        DataError: a portrait shows no face, or no test clip could be scored.
        KeyboardInterrupt: the user stopped a step.
    """
    steps = _Steps(teller.say)
    run, bundle, data = places.run, places.bundle, places.data
    with steps.step("clips: talking heads, and fakes blended from them"):
        count = _make_clips(places, portraits, seed=seed, teller=teller)
    with steps.step(
        "training from random weights",
        f"istvt train {data} --out {run} --preset tiny --budget-s {train_s:g}",
    ):
        trained = _train(places, train_s=train_s, seed=seed, teller=teller)
    with steps.step("test split", f"istvt evaluate --data {data} --model {run}"):
        tested = _evaluate(places, teller)
    with steps.step("export", f"istvt export --model {run}"):
        exported = _export(places, teller)
    with api.open_model(bundle) as model:
        info = model.info
        teller.say(f"\nbackend: {info.backend} on {info.device} in {info.precision}")
        with steps.step(
            "all test clips",
            f"istvt score {data / 'test'} --model {bundle} --csv {places.scores}",
        ):
            scored = _score(model, places, teller)
        streamed = {}
        for label in LABELS:
            clip = middle(scored[label])
            command = (
                f"istvt stream --source {clip} --model {bundle} --save {places.overlay(label)} "
                f"--json {places.lines(label)}"
            )
            with steps.step(f"streaming a held-out {label} clip", command):
                streamed[label] = _stream(model, clip, label, places)
                teller.say(format_session(streamed[label].report))
    with steps.step("latency", f"istvt bench --model {bundle} --quick"):
        measured = _measure(places, teller)
    return Story(count, trained, tested, exported, scored, streamed, measured, steps.seconds)


def middle(reports: list[SessionReport]) -> Path:
    """Return the clip in the middle of its label's scores: neither the best nor the worst."""
    return Path(reports[len(reports) // 2].source)


def probability_of(report: SessionReport) -> float | None:
    """Return a source's fake probability; None if nothing could be scored."""
    score = report.verdict.score
    return None if score is None else score.fake_probability


def _make_clips(places: Places, portraits: Path | None, *, seed: int, teller: Teller) -> int:
    from istvt.data.synthetic.generate import find_portraits, make_dataset
    from istvt.faces.mtcnn import MtcnnDetector

    found = find_portraits(portraits, detect=MtcnnDetector().detect)
    with teller.bars() as progress:
        make_dataset(places.data, found, seed=seed, progress=progress)
    return len(found)


def _train(places: Places, *, train_s: float, seed: int, teller: Teller) -> "FitResult":
    from istvt.training.fit import Training
    from istvt.training.stop import TrainingStopped

    config = ModelConfig(TINY, CropRecipe(TINY.image_size))
    recipe = replace(DEMO_RECIPE, epochs=None, budget_s=train_s, seed=seed)
    request, training = DataRequest(places.data), Training(config, recipe)
    try:
        with teller.bars() as progress:
            trained = api.train(request, places.run, training, progress=progress)
    except TrainingStopped as stopped:
        teller.say(f"{stopped}; istvt train {places.data} --out {places.run} --resume continues it")
        raise
    best = trained.best
    teller.say(
        f"best of {len(trained.epochs)} epochs: {best.epoch}, validation AUC "
        f"{best.val_windows.auc:.3f} by window, {best.val_videos.auc:.3f} by video"
    )
    return trained


def _evaluate(places: Places, teller: Teller) -> "Report":
    from istvt.evaluation.report import format_summary

    with teller.bars() as progress:
        tested = api.evaluate(DataRequest(places.data), places.run, progress=progress)
    teller.say(format_summary(tested.found, tested.summary))
    return tested


def _export(places: Places, teller: Teller) -> "Exported":
    from istvt.export.engines.build import choose_flavour
    from istvt.export.engines.builder import EngineOptions
    from istvt.runtime.parity import format_parity

    flavour = choose_flavour("auto")
    engines = None if flavour is None else EngineOptions(flavour)
    with teller.bars() as progress:
        exported = api.export_bundle(places.run, places.bundle, engines=engines, progress=progress)
    teller.say(format_parity(exported.parity))
    if exported.engines is not None and exported.engines.unchecked:
        teller.say(f"the engines have not been run here: {exported.engines.unchecked}")
    return exported


def _score(model: api.Model, places: Places, teller: Teller) -> dict[str, list[SessionReport]]:
    from istvt.runtime.recordings import find_sources

    clips = find_sources([places.data / "test"])
    with teller.bars() as progress:
        reports = model.score_all(clips, judging=JUDGING, progress=progress)
    if any(report.was_interrupted for report in reports):
        raise KeyboardInterrupt
    places.scores.write_text(to_csv(reports))
    return {label: _of_label(reports, label, teller) for label in LABELS}


def _of_label(reports: list[SessionReport], label: str, teller: Teller) -> list[SessionReport]:
    found = [report for report in reports if Path(report.source).parent.name == label]
    judged = [report for report in found if report.verdict.score is not None]
    if not judged:
        raise DataError(f"no {label} test clip could be scored")
    counts = Counter(report.verdict.kind.value for report in judged)
    said = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    teller.say(f"{label} clips: {said}")
    return sorted(judged, key=lambda report: probability_of(report) or 0.0)


def _stream(model: api.Model, clip: Path, label: str, places: Places) -> StreamedClip:
    from istvt.runtime.sinks.json_lines import JsonLines
    from istvt.runtime.sinks.pictures import Pictures
    from istvt.runtime.stages import StageTimers

    points, info = _Points(), model.info
    with api.open_source(clip) as source, places.lines(label).open("w") as lines:
        overlay = Pictures(
            display=None,
            save=places.overlay(label),
            fps=source.fps,
            footer=f"{clip.name}  {info.backend} {info.precision}",
            timers=StageTimers(),
        )
        report = model.session(source, judging=JUDGING).run([JsonLines(lines), overlay, points])
    if report.was_interrupted:
        raise KeyboardInterrupt
    return StreamedClip(label, tuple(points.windows), report)


class _Points(Sink):
    """Collects the points of the score plot."""

    def __init__(self) -> None:
        self.windows: list[tuple[float, float, float]] = []

    def take(self, result: "FrameResult") -> bool:
        for track in result.tracks:
            if track.window is not None and track.probability is not None:
                point = result.frame.time_s, track.window.fake_probability, track.probability
                self.windows.append(point)
        return True


def _measure(places: Places, teller: Teller) -> "BenchReport":
    from istvt.benchmarks import bench
    from istvt.benchmarks.chart import draw
    from istvt.benchmarks.table import format_report
    from istvt.bundle.manifest import open_bundle

    with teller.bars() as progress:
        measured = bench.run_bench(
            open_bundle(places.bundle),
            bench.BenchRequest(rounds=bench.QUICK_ROUNDS, seconds=bench.QUICK_SECONDS),
            progress=progress,
        )
    teller.say(format_report(measured))
    if all(row.reason for row in measured.rows):
        raise BackendError("no backend could be measured; the table above has the reasons")
    draw(measured, places.picture("bench"))
    return measured
