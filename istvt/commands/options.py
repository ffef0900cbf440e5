"""The options that several commands share, and what they open."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from istvt.bundle import locate
from istvt.errors import UsageError

if TYPE_CHECKING:
    from istvt.bundle.manifest import Bundle
    from istvt.faces.mtcnn import MtcnnDetector
    from istvt.runtime.pipeline import Pipeline
    from istvt.runtime.policy import VerdictPolicy
    from istvt.scorer import Scorer

ModelOption = Annotated[
    Path | None,
    typer.Option(
        help="Run folder or bundle. Without it: $ISTVT_MODEL, else the newest here or under runs/."
    ),
]
BackendOption = Annotated[
    str,
    typer.Option(
        help="auto, torch, onnxruntime, openvino, onnxruntime-tensorrt, tensorrt_rtx or tensorrt; "
        "auto says which it took."
    ),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
ThreadsOption = Annotated[
    int | None, typer.Option(min=1, help="CPU threads for the model. Default: all cores.")
]
ThresholdOption = Annotated[
    float | None,
    typer.Option(help="Fake probability in the middle of the band. Default: the bundle's."),
]
BandOption = Annotated[
    float, typer.Option(help="Half-width around the threshold where nothing is concluded.")
]
MinFaceOption = Annotated[
    int | None,
    typer.Option(min=12, help="Smallest face that is looked for, in px. Default: the model's."),
]


def open_bundle(model: Path | None) -> "Bundle":
    """Find and check the bundle; print which it is and why."""
    from istvt.bundle.manifest import open_bundle

    located = locate.find_bundle(model)
    typer.echo(f"model: {located.folder} ({located.reason})", err=True)
    return open_bundle(located.folder)


def open_scorer(bundle: "Bundle", backend: str, device: str, threads: int | None) -> "Scorer":
    """Load the bundle into a runtime; print which."""
    from istvt.runtime.backends.choose import open_scorer

    scorer = open_scorer(bundle, backend=backend, device=device, threads=threads)
    info = scorer.info
    typer.echo(f"backend: {info.backend} on {info.device} in {info.precision}", err=True)
    return scorer


def verdict_policy(bundle: "Bundle", threshold: float | None, band: float) -> "VerdictPolicy":
    """Take the threshold given, else the bundle's."""
    from istvt.runtime.policy import VerdictPolicy

    chosen = bundle.policy.threshold if threshold is None else threshold
    return VerdictPolicy(threshold=chosen, band=band)


def open_detector(bundle: "Bundle", *, min_face_px: int | None) -> "MtcnnDetector":
    """Load the bundle's own face detector, set as in the model's training."""
    from istvt.faces.mtcnn import MtcnnDetector

    trained_px = bundle.config.crop.min_face_px
    return MtcnnDetector(bundle.detector, min_face_px=min_face_px or trained_px)


def make_pipeline(
    bundle: "Bundle", detector: "MtcnnDetector", policy: "VerdictPolicy", *, is_live: bool
) -> "Pipeline":
    """Put the parts of one source together."""
    from istvt.faces.track import FaceTracker
    from istvt.runtime.pipeline import Pipeline

    tracker = FaceTracker(detector, detect_every=None) if is_live else FaceTracker(detector)
    return Pipeline(tracker, bundle.config, verdicts=policy, scores=bundle.policy)


def check_writable(path: Path) -> None:
    """Refuse an output file before the work whose result it is to hold.

    Raises:
        UsageError: it is a folder, or cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a"):
            pass
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written ({error.strerror}): name a place you may write to"
        ) from error
