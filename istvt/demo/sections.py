"""What the steps left on disk in, the sections of the page out."""

import json
from collections.abc import Mapping
from typing import Any

from istvt.demo.page import Figure, Section
from istvt.demo.pictures import StreamedClip, draw_scores, film_strip, write_png
from istvt.demo.story import LABELS, Places
from istvt.errors import UsageError
from istvt.training.fit import CURVE_FILE
from istvt.training.trainer import METRICS_FILE


def make_sections(
    places: Places,
    *,
    band: float,
    test_result: str,
    bench_table: str,
    seconds: Mapping[str, float],
) -> list[Section]:
    """Draw the pictures and gather all sections, in the order of the steps."""
    bundle = json.loads((places.bundle / "bundle.json").read_text())
    clips = [_read(places, label) for label in LABELS]
    threshold = bundle["policy"]["threshold"]
    draw_scores(places.picture("scores"), clips, threshold=threshold, band=band)
    return [
        _clips_section(places),
        _training_section(places, test_result),
        _export_section(bundle),
        _scores_section(places),
        _verdict_section(places, clips),
        Section(
            title="Latency",
            text="Each backend beside the naive way: PyTorch in fp32, six frames encoded anew for "
            "every window. Measured on this machine, in this run.",
            figures=(Figure(places.picture("bench"), "one streamed frame, p50 and p95"),),
            output=bench_table,
        ),
        Section(
            title="How long the steps took",
            table=(("step", "seconds"), *((step, f"{s:.1f}") for step, s in seconds.items())),
        ),
    ]


def _read(places: Places, label: str) -> StreamedClip:
    lines = [json.loads(line) for line in places.lines(label).read_text().splitlines()]
    summaries = [line for line in lines if line["type"] == "summary"]
    if not summaries:
        raise UsageError(f"{places.lines(label)} has no summary: the stream was stopped early")
    windows = tuple(line for line in lines if line["type"] == "window")
    return StreamedClip(label=label, windows=windows, summary=summaries[0])


def _clips_section(places: Places) -> Section:
    figures = []
    for label in LABELS:
        picture = places.picture(f"clip_{label}")
        write_png(picture, film_strip(places.held_out(label)))
        figures.append(Figure(picture, f"a held-out {label} clip, frames from start to end"))
    return Section(
        title="Clips",
        text="Portraits are animated (head motion, blinks, speech, light, sensor noise, H.264). "
        "Each fake blends a real clip with a copy of itself inside the face.",
        figures=tuple(figures),
    )


def _training_section(places: Places, test_result: str) -> Section:
    epochs = len((places.run / METRICS_FILE).read_text().splitlines())
    return Section(
        title="Training",
        text=f"Epochs from random weights: {epochs}. The best on the validation clips was kept.",
        figures=(Figure(places.run / CURVE_FILE, "loss and validation AUC by epoch"),),
        output=test_result,
    )


def _export_section(bundle: Mapping[str, Any]) -> Section:
    rows = [("step", "windows", "max |Δlogit|", "mean |Δlogit|", "flips")]
    for step in bundle["parity"]:
        rows.append(
            (
                f"{step['reference']} → {step['candidate']}",
                f"{step['windows']} {step['origin']}",
                f"{step['max_abs_logit']:.1e}",
                f"{step['mean_abs_logit']:.1e}",
                str(step["flips"]),
            )
        )
    return Section(
        title="Export",
        text="The ONNX graphs were held against PyTorch before the bundle was kept.",
        table=tuple(rows),
    )


def _scores_section(places: Places) -> Section:
    rows = [("truth", "clip", "verdict", "fake probability")]
    for label in LABELS:
        for clip in places.test_clips(label):
            probability = f"{clip.fake_probability:.3f}"
            rows.append((label, clip.path.name, clip.verdict, probability))
    return Section(
        title="All test clips",
        text="What `istvt score` says of every clip that the training never saw.",
        table=tuple(rows),
    )


def _verdict_section(places: Places, clips: list[StreamedClip]) -> Section:
    rows = [("clip", "verdict", "fake probability", "windows", "frames", "tracks")]
    figures = []
    for clip in clips:
        summary = clip.summary
        probability = summary["fake_probability"]
        rows.append(
            (
                f"held-out {clip.label}",
                summary["verdict"],
                "-" if probability is None else f"{probability:.3f}",
                str(summary["windows"]),
                str(summary["frames_read"]),
                str(summary["tracks"]),
            )
        )
        picture = places.picture(f"overlay_{clip.label}")
        write_png(picture, film_strip(places.overlay(clip.label), frames=3))
        figures.append(Figure(picture, f"what `istvt stream` drew over the {clip.label} clip"))
    scores = Figure(places.picture("scores"), "points: single windows; lines: the running mean")
    return Section(
        title="Streaming two held-out clips",
        text="The clip in the middle of its label's scores: neither the best nor the worst.",
        table=tuple(rows),
        figures=(scores, *figures),
    )
