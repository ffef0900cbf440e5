"""Turn the demo's results into the sections of its page."""

from pathlib import Path

import numpy as np

from istvt.benchmarks.table import format_report
from istvt.demo.page import Figure, Section
from istvt.demo.pictures import draw_scores, film_strip, write_picture
from istvt.demo.places import Places
from istvt.demo.story import JUDGING, LABELS, Story, middle, probability_of
from istvt.evaluation.report import format_summary
from istvt.runtime.session import SessionReport
from istvt.training.run.folder import CURVE_FILE

OVERVIEW_PX = 880


def make_sections(places: Places, story: Story) -> list[Section]:
    """Draw the pictures and return all sections, in the order of the steps."""
    threshold = story.exported.bundle.policy.threshold
    clips = story.streamed.values()
    draw_scores(places.picture("scores"), clips, threshold=threshold, band=JUDGING.band)
    return [
        _clips(places, story),
        _training(places, story),
        _export(story),
        _scores(story),
        _verdicts(places, story),
        Section(
            title="Latency",
            text="Each backend beside a naive implementation: PyTorch in fp32, which encodes six "
            "frames again for every window. Measured on this machine, in this run.",
            figures=(Figure(places.picture("bench"), "one streamed frame, p50 and p95"),),
            output=format_report(story.measured),
        ),
        Section(
            title="How long the steps took",
            table=(("step", "seconds"), *((n, f"{s:.1f}") for n, s in story.seconds.items())),
        ),
    ]


def _clips(places: Places, story: Story) -> Section:
    figures = []
    for label in LABELS:
        picture = places.picture(f"clip_{label}")
        write_picture(picture, film_strip(middle(story.scored[label])))
        figures.append(Figure(picture, f"a held-out {label} clip, frames from start to end"))
    return Section(
        title="Clips",
        text="Portraits are animated (head motion, blinks, speech, light, sensor noise, H.264). "
        "Each fake blends a real clip with a copy of itself inside the face.",
        figures=tuple(figures),
    )


def _training(places: Places, story: Story) -> Section:
    return Section(
        title="Training",
        text=f"Epochs from random weights: {len(story.trained.epochs)}. The epoch that did best "
        "on the validation clips was kept.",
        figures=(Figure(places.run / CURVE_FILE, "loss and validation AUC by epoch"),),
        output=format_summary(story.tested.found, story.tested.summary),
    )


def _export(story: Story) -> Section:
    rows = [("step", "windows", "max |Δlogit|", "mean |Δlogit|", "flips")]
    for step in story.exported.parity:
        rows.append(
            (
                f"{step.reference} → {step.candidate}",
                f"{step.windows} {step.origin}",
                f"{step.max_abs_logit:.1e}",
                f"{step.mean_abs_logit:.1e}",
                str(step.flips),
            )
        )
    return Section(
        title="Export",
        text="The ONNX graphs were compared with PyTorch before the bundle was kept.",
        table=tuple(rows),
    )


def _scores(story: Story) -> Section:
    rows = [("truth", "clip", "verdict", "fake probability")]
    for label in LABELS:
        for report in story.scored[label]:
            name, verdict = Path(report.source).name, report.verdict.kind.value
            rows.append((label, name, verdict, _shown(report)))
    return Section(
        title="All test clips",
        text="The verdict of `istvt score` on every clip that the training never saw.",
        table=tuple(rows),
    )


def _verdicts(places: Places, story: Story) -> Section:
    rows = [("clip", "verdict", "fake probability", "windows", "frames", "tracks")]
    strips = {label: film_strip(places.overlay(label), frames=3) for label in LABELS}
    middles = [np.split(strip, 3, axis=1)[1] for strip in strips.values()]
    write_picture(places.overview, np.concatenate(middles, axis=1), width_px=OVERVIEW_PX)
    figures = []
    for label, clip in story.streamed.items():
        report = clip.report
        rows.append(
            (
                f"held-out {label}",
                report.verdict.kind.value,
                _shown(report),
                str(report.verdict.windows),
                str(report.frames_read),
                str(report.tracks_seen),
            )
        )
        picture = places.picture(f"overlay_{label}")
        write_picture(picture, strips[label])
        figures.append(Figure(picture, f"the overlay of `istvt stream` on the {label} clip"))
    scores = Figure(places.picture("scores"), "points: single windows; lines: the running mean")
    return Section(
        title="Streaming two held-out clips",
        text="The clip in the middle of its label's scores: neither the best nor the worst.",
        table=tuple(rows),
        figures=(scores, *figures),
    )


def _shown(report: SessionReport) -> str:
    probability = probability_of(report)
    return "-" if probability is None else f"{probability:.3f}"
