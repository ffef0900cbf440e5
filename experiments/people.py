"""Leave one person out: train on self-blended windows of the others, test on the one left out.

    python experiments/people.py ../shared/media people/ --epochs 16

Reads the sample recordings, cuts one clip for each appearance of a person, animates the two people
of whom there are photographs only, and trains one model for each person. Of the others, one person
chooses the best epoch. Writes a result for each person, goes on where it was stopped, and prints a
Markdown table when everyone is done; intervals draw people anew.
"""

import argparse
import csv
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from istvt.data.dataset import DataRequest
from istvt.data.layouts.choose import LayoutOptions
from istvt.data.synthetic.talking_head import ClipRecipe, cut_portrait, make_clip
from istvt.evaluation.evaluate import evaluate
from istvt.evaluation.intervals import bootstrap
from istvt.evaluation.metrics import roc_auc
from istvt.evaluation.scores import Scoring
from istvt.faces.mtcnn import MtcnnDetector
from istvt.faces.track import FaceTracker
from istvt.models.load import load_run
from istvt.presets import TINY, CropRecipe, ModelConfig
from istvt.records import Frame
from istvt.training.fit import Training, fit
from istvt.training.material import BLENDS
from istvt.training.run.checkpoint import LAST_FILE
from istvt.training.run.recipe import MODERN_RECIPE, BlendName
from istvt.video.cuts import CutDetector
from istvt.video.source import open_source
from istvt.video.writer import VideoWriter

MIN_FACE_PX = 30
RESAMPLES = 10_000
MARGIN = 0.35  # around the face's way, over its size
CRF = 10
WINDOWS_PER_VIDEO = 16


@dataclass(frozen=True)
class Appearance:
    """Somebody's face in a recording: the track that holds `point_px` in `frame`."""

    person: str
    file: str
    frame: int
    point_px: tuple[int, int]


TURNING, STAGE = "head_turn_two_people.gif", "stage_four_shots_640x360.mp4"
APPEARANCES = (
    Appearance("woman, head turn", "head_turn_a.gif", 0, (210, 100)),
    Appearance("woman, head turn", TURNING, 0, (104, 105)),
    Appearance("man, head turn", "head_turn_b.gif", 0, (245, 90)),
    Appearance("man, head turn", TURNING, 0, (357, 96)),
    Appearance("man, studio", "one_face_480x480.mp4", 0, (240, 240)),
    Appearance("speaker", STAGE, 90, (175, 107)),
    Appearance("listener 1", STAGE, 215, (352, 86)),
    Appearance("listener 2", STAGE, 215, (412, 132)),
    Appearance("listener 3", STAGE, 215, (196, 128)),
    Appearance("listener 4", STAGE, 215, (67, 102)),
)
# The first photograph shows the same man as "listener 1".
PHOTOGRAPHS = (
    Appearance("listener 1", "one_portrait.jpg", 0, (490, 250)),
    Appearance("listener 1", "two_people.jpg", 0, (311, 124)),
    Appearance("photograph", "two_people.jpg", 0, (859, 152)),
)


def main() -> None:
    arguments = _parse()
    clips = cut_clips(arguments.media, arguments.out / "clips")
    people = sorted({person for person, _ in clips})
    for number, person in enumerate(people):
        result = arguments.out / f"{slug(person)}.json"
        if result.exists() or (arguments.people and person not in arguments.people):
            continue
        chooser = people[(number + 1) % len(people)]
        result.write_text(json.dumps(run_fold(arguments, clips, person=person, chooser=chooser)))
    found = [arguments.out / f"{slug(person)}.json" for person in people]
    if all(path.exists() for path in found):
        print(table([json.loads(path.read_text()) for path in found]))


def cut_clips(media: Path, out: Path) -> list[tuple[str, Path]]:
    """Write a clip for each appearance: a fixed region around the way of the face."""
    out.mkdir(parents=True, exist_ok=True)
    detector = MtcnnDetector(min_face_px=MIN_FACE_PX)
    clips = []
    for number, appearance in enumerate(APPEARANCES):
        path = out / f"{number:02d}.mp4"
        if not path.exists():
            cut_clip(media / appearance.file, appearance, path, detector)
        clips.append((appearance.person, path))
    for number, appearance in enumerate(PHOTOGRAPHS, start=len(APPEARANCES)):
        for take in range(3):
            path = out / f"{number:02d}-{take}.mp4"
            if not path.exists():
                animate(
                    media / appearance.file, appearance, path, detector, seed=10 * number + take
                )
            clips.append((appearance.person, path))
    return clips


def cut_clip(video: Path, appearance: Appearance, path: Path, detector: MtcnnDetector) -> None:
    tracker, cuts = FaceTracker(detector), CutDetector()
    found: dict[int, list[tuple[Frame, np.ndarray]]] = {}
    wanted = None
    with open_source(video) as source:
        for frame in source:
            if cuts.is_cut(frame.image):
                tracker.reset()
            for tracked in tracker.update(frame):
                box = tracked.face.box_xyxy
                found.setdefault(tracked.track_id, []).append((frame, box))
                if frame.index == appearance.frame and _holds(box, appearance.point_px):
                    wanted = tracked.track_id
    if wanted is None:
        raise SystemExit(f"no face at {appearance}")
    frames, boxes = zip(*found[wanted], strict=True)
    height, width = frames[0].image.shape[:2]
    x0, y0 = np.min(boxes, axis=0)[:2]
    x1, y1 = np.max(boxes, axis=0)[2:]
    margin = MARGIN * float(np.median(np.ptp(np.reshape(boxes, (-1, 2, 2)), axis=1).max(axis=1)))
    left, top = max(0, int(x0 - margin)), max(0, int(y0 - margin))
    right, bottom = min(width, int(x1 + margin)), min(height, int(y1 + margin))
    seconds = frames[-1].time_s - frames[0].time_s
    fps = (frames[-1].index - frames[0].index) / seconds
    size_wh = (right - left, bottom - top)
    with VideoWriter(path, fps=fps, size_wh=size_wh, crf=CRF) as writer:
        for frame in frames:
            writer.write(frame.image[top:bottom, left:right])


def animate(
    picture: Path, appearance: Appearance, path: Path, detector: MtcnnDetector, *, seed: int
) -> None:
    with open_source(picture) as source:
        image = next(iter(source)).image
    faces = [face for face in detector.detect(image) if _holds(face.box_xyxy, appearance.point_px)]
    recipe = ClipRecipe(num_frames=60)
    portrait = cut_portrait(image, faces, name=picture.name, size_px=recipe.size_px)
    size_wh = (recipe.size_px, recipe.size_px)
    with VideoWriter(path, fps=recipe.fps, size_wh=size_wh, crf=CRF) as writer:
        for frame, _ in make_clip(portrait, seed=seed, recipe=recipe):
            writer.write(frame)


def run_fold(
    arguments: argparse.Namespace, clips: list[tuple[str, Path]], *, person: str, chooser: str
) -> dict[str, object]:
    """Train without `person`, and score everything of `person`."""
    name = slug(person)
    manifest, run = arguments.out / f"{name}.csv", arguments.out / "runs" / name
    split_of = {person: "test", chooser: "val"}
    with manifest.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "label", "split", "identity"])
        for who, path in clips:
            split = split_of.get(who, "train")
            writer.writerow([path.relative_to(arguments.out), "real", split, slug(who)])
    crop = CropRecipe(TINY.image_size, min_face_px=MIN_FACE_PX)
    config = ModelConfig(TINY, crop)
    recipe = replace(
        MODERN_RECIPE,
        lr=1e-3,
        warmup_steps=30,
        epochs=arguments.epochs,
        patience=None,
        windows_per_video=WINDOWS_PER_VIDEO,
        ema_decay=0.99,
        label_smoothing=0.0,
        fakes="self-blended",
        blend="plain",
        augmentation="mild",
    )
    request = DataRequest(manifest, LayoutOptions(layout="csv"), cache=arguments.out / "faces")
    result = fit(
        request,
        run,
        Training(config, recipe, resume=(run / LAST_FILE).exists()),
        on_epoch=lambda epoch: print(
            name, epoch.epoch, round(epoch.val_windows.auc, 3), flush=True
        ),
    )
    model, config = load_run(run)
    tested = {
        name: evaluate(request, model, config, scoring=Scoring(fakes="self-blended", blend=blend))[
            0
        ]
        for name, blend in BLENDS.items()
    }
    return {
        "person": person,
        "chooser": chooser,
        "best_epoch": result.best.epoch,
        "val_auc": result.best.val_windows.auc,
        "tests": {
            name: {
                "labels": [found.scores[position].label for position in found.video_of_window],
                "scores": found.fake_probabilities.tolist(),
            }
            for name, found in tested.items()
        },
    }


def table(folds: list[dict[str, Any]]) -> str:
    """One row a person, with what chose the epoch; then the mean, and all windows together."""
    header = ["person", "windows", *BLENDS, "chooser, subtle"]
    rows = []
    for fold in folds:
        aucs = [roc_auc(**fold["tests"][name]) for name in BLENDS]
        windows = len(fold["tests"]["plain"]["labels"])
        rows.append([fold["person"], windows, *(f"{auc:.3f}" for auc in (*aucs, fold["val_auc"]))])
    rows.append(["mean over people", "", *(mean_over_people(folds, name) for name in BLENDS), ""])
    rows.append(["all windows", "", *(over_windows(folds, name) for name in BLENDS), ""])
    return "\n".join(
        f"| {' | '.join(map(str, row))} |" for row in (header, ["---"] * len(header), *rows)
    )


def mean_over_people(folds: list[dict[str, Any]], name: BlendName) -> str:
    aucs = [roc_auc(**fold["tests"][name]) for fold in folds]
    drawn = np.random.default_rng(0).choice(aucs, (RESAMPLES, len(aucs))).mean(axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return f"{np.mean(aucs):.3f} [{low:.3f}, {high:.3f}]"


def over_windows(folds: list[dict[str, Any]], name: BlendName) -> str:
    tests = [fold["tests"][name] for fold in folds]
    people = [fold["person"] for fold in folds for _ in fold["tests"][name]["labels"]]
    labels = [label for test in tests for label in test["labels"]]
    scores = [score for test in tests for score in test["scores"]]
    whole = bootstrap(people, labels, scores, roc_auc)
    return f"{roc_auc(labels, scores):.3f} [{whole.low:.3f}, {whole.high:.3f}]"


def slug(person: str) -> str:
    return person.replace(",", "").replace(" ", "-")


def _holds(box: np.ndarray, point_px: tuple[int, int]) -> bool:
    return bool((box[:2] <= point_px).all() and (box[2:] >= point_px).all())


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("media", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--people", nargs="*", help="only these; default: everyone")
    return parser.parse_args()


if __name__ == "__main__":
    main()
