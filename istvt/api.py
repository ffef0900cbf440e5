"""Offer the toolkit to Python: open a model, score, stream, prepare, train, evaluate, export.

    import istvt

    with istvt.open_model("model.istvt") as model:
        report = model.score("clip.mp4")
        print(report.verdict.kind.value, report.verdict.reason)

Nothing here prints; warnings are logged.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from istvt.bundle.locate import default_bundle, find_bundle, find_run
from istvt.bundle.manifest import open_bundle
from istvt.closing import ClosesOnExit
from istvt.records import Precision, Progress, ignore
from istvt.runtime.backends.choose import AUTO, open_scorer

if TYPE_CHECKING:
    from istvt.bundle.manifest import Bundle
    from istvt.data.dataset import DataRequest
    from istvt.data.layouts.choose import LayoutOptions
    from istvt.data.layouts.manifest import Manifest
    from istvt.data.prepared.face_recipe import FaceRecipe
    from istvt.data.prepared.folder import Prepared
    from istvt.evaluation.report import Report
    from istvt.evaluation.scores import Scoring
    from istvt.export.build import Exported
    from istvt.export.engines.builder import EngineOptions
    from istvt.export.engines.parity import CheckedEngines
    from istvt.faces.mtcnn import MtcnnDetector
    from istvt.runtime.pipeline import FrameResult, Pipeline
    from istvt.runtime.policy import VerdictPolicy
    from istvt.runtime.session import Session, SessionReport
    from istvt.runtime.stages import StageTimers
    from istvt.scorer import Scorer, ScorerInfo
    from istvt.training.fit import FitResult, Training
    from istvt.training.initial_weights import ImportReport
    from istvt.training.run.epochs import EpochResult
    from istvt.video.source import Source


@dataclass(frozen=True)
class Judging:
    """Sets how faces are found and judged.

    Attributes:
        threshold: fake probability in the middle of the band; None uses the bundle's.
        band: half-width of the inconclusive band around the threshold.
        min_face_px: smallest face to detect; None uses the model's.
    """

    threshold: float | None = None
    band: float = 0.1
    min_face_px: int | None = None


DEFAULT_JUDGING = Judging()


def open_model(
    path: str | Path | None = None,
    *,
    backend: str = AUTO,
    device: str = "auto",
    threads: int | None = None,
    eager_kernels: bool = False,
) -> "Model":
    """Load a bundle into a runtime.

    Args:
        path: the bundle's folder; None uses `$ISTVT_MODEL`, else the newest bundle here.
        backend: torch, onnxruntime, openvino, tensorrt, ...; `auto` uses the first that works.
        device: `cpu`, `cuda`, or `auto` for CUDA if the backend has it.
        threads: CPU threads for the model; None uses all cores.
        eager_kernels: have TensorRT-RTX compile a new batch size's kernels before running it, for
            benchmarks.

    Returns:
        The model, a context manager that frees its memory at the end.

    Raises:
        ModelNotFoundError: there is no bundle.
        BundleError: the bundle is damaged.
        UsageError: an unknown backend or device.
        RuntimeEnvironmentError: the named backend does not run here; with `auto`, none does.
    """
    bundle = open_bundle(find_bundle(None).folder if path is None else Path(path))
    scorer = open_scorer(
        bundle, backend=backend, device=device, threads=threads, eager_kernels=eager_kernels
    )
    return Model(bundle, scorer)


class Model(ClosesOnExit):
    """A bundle in a runtime, ready to judge; not thread-safe.

    Attributes:
        bundle: the opened bundle.
        scorer: the runtime that runs it.
    """

    def __init__(self, bundle: "Bundle", scorer: "Scorer") -> None:
        self.bundle, self.scorer = bundle, scorer
        self._detectors: dict[int, MtcnnDetector] = {}

    @property
    def info(self) -> "ScorerInfo":
        """The backend, device and precision in use."""
        return self.scorer.info

    def score(
        self,
        source: str | Path,
        *,
        judging: Judging = DEFAULT_JUDGING,
        progress: Progress = ignore,
    ) -> "SessionReport":
        """Judge one recording: a video, an image or a folder of images.

        Returns:
            The report: `.verdict` on the whole, and `.tracks` with a verdict on each face's track.

        Raises:
            SourceError: it cannot be read at all; one that ends early is reported as partial.
        """
        (report,) = self.score_all([Path(source)], judging=judging, progress=progress)
        return report

    def score_all(
        self,
        sources: Sequence[Path],
        *,
        judging: Judging = DEFAULT_JUDGING,
        progress: Progress = ignore,
    ) -> "list[SessionReport]":
        """Judge recordings one after another; an unreadable one does not stop the rest.

        Args:
            sources: files and folders of images; `find_sources` of `istvt.runtime.recordings` lists
                the videos in folders.
            judging: how faces are found and judged.
            progress: called with ("files", done, total) and (name, frames read, frames declared).

        Raises:
            SourceError: the only source cannot be read at all.
        """
        from istvt.runtime.recordings import score_sources

        def open_session(source: "Source") -> "Session":
            return self.session(source, judging=judging)

        return score_sources(sources, open_session, progress=progress)

    def stream(
        self,
        source: "str | Path | int",
        *,
        judging: Judging = DEFAULT_JUDGING,
        max_frames: int | None = None,
    ) -> "Iterator[FrameResult]":
        """Judge a camera, a stream or a file, frame by frame.

        Args:
            source: a file, a folder of images, a URL, or the index of a camera.
            judging: how faces are found and judged.
            max_frames: stop after this many frames.

        Yields:
            Each frame's faces with their running verdicts, and the tracks that ended.

        Raises:
            SourceError: the source cannot be opened; one that breaks later ends the loop.
        """
        with open_source(source) as opened:
            yield from self.session(opened, judging=judging, max_frames=max_frames)

    def session(
        self,
        source: "Source",
        *,
        judging: Judging = DEFAULT_JUDGING,
        max_frames: int | None = None,
        timers: "StageTimers | None" = None,
        times_encoder: bool = False,
    ) -> "Session":
        """Create a session on an open source: iterate over it, or run it with sinks.

        Args:
            source: closed by the caller.
            judging: how faces are found and judged.
            max_frames: stop after this many frames.
            timers: measure each stage.
            times_encoder: wait for the device after each `encode`, so that its time counts there.

        Raises:
            UsageError: the threshold or band is out of range.
        """
        from istvt.runtime.hub import Hub
        from istvt.runtime.session import Session

        policy = self._policy(judging)
        pipeline = self._pipeline(judging, policy, is_live=source.is_live, timers=timers)
        hub = Hub(self.scorer, timers=pipeline.timers, times_encoder=times_encoder)
        return Session(
            source,
            pipeline,
            hub=hub,
            policy=policy,
            max_frames=max_frames,
        )

    def close(self) -> None:
        """Free the runtime's memory."""
        self.scorer.close()

    def _policy(self, judging: Judging) -> "VerdictPolicy":
        from istvt.runtime.policy import VerdictPolicy

        asked, own = judging.threshold, self.bundle.policy.threshold
        return VerdictPolicy(threshold=own if asked is None else asked, band=judging.band)

    def _pipeline(
        self,
        judging: Judging,
        policy: "VerdictPolicy",
        *,
        is_live: bool,
        timers: "StageTimers | None",
    ) -> "Pipeline":
        from istvt.faces.track import FaceTracker
        from istvt.runtime.pipeline import Pipeline

        detector = self._detector(judging.min_face_px or self.bundle.config.crop.min_face_px)
        tracker = FaceTracker(detector, detect_every=None) if is_live else FaceTracker(detector)
        return Pipeline(
            tracker, self.bundle.config, verdicts=policy, scores=self.bundle.policy, timers=timers
        )

    def _detector(self, min_face_px: int) -> "MtcnnDetector":
        """Load the bundle's face detector, once for each smallest face."""
        from istvt.faces.mtcnn import MtcnnDetector

        if min_face_px not in self._detectors:
            self._detectors[min_face_px] = MtcnnDetector(
                self.bundle.detector, min_face_px=min_face_px
            )
        return self._detectors[min_face_px]


def open_source(source: "str | Path | int") -> "Source":
    """Open a file, a folder of images, a URL, or a camera by its index.

    Raises:
        SourceError: it cannot be opened.
    """
    if isinstance(source, int):
        from istvt.video.camera import open_camera

        return open_camera(source)
    from istvt.video import source as sources

    return sources.open_source(source)


def list_videos(data: str | Path, layout: "LayoutOptions | None" = None) -> "Manifest":
    """List the videos of a data set by their names alone, with notes on what looks wrong.

    Args:
        data: a folder in one of the layouts, or a CSV.
        layout: how to read it; None recognises it.

    Raises:
        DataError: the layout is unknown, or a video is in two splits.
    """
    from istvt.data.layouts.checks import refuse_copies
    from istvt.data.layouts.choose import LayoutOptions, read_layout

    manifest = read_layout(Path(data), layout or LayoutOptions())
    refuse_copies(manifest.videos)
    return manifest


def prepare(
    data: "str | Path | Manifest",
    out: str | Path,
    recipe: "FaceRecipe",
    *,
    layout: "LayoutOptions | None" = None,
    workers: int | None = None,
    progress: Progress = ignore,
) -> "Prepared":
    """Detect, track and crop the faces of a data set; an interrupted call resumes.

    Args:
        data: a folder in one of the layouts, a CSV, or what `list_videos` returned.
        out: the prepared folder: new, or from an earlier call with this recipe and data.
        recipe: which crops; `FaceRecipe.of_model(config)` returns what a model takes.
        layout: how to read `data`; None recognises it.
        workers: processes; None starts one per core.
        progress: called with ("faces", videos done, videos).

    Raises:
        DataError: see `list_videos`, or `out` holds something else.
    """
    from istvt.data.prepared.prepare import prepare as prepare_all

    manifest = list_videos(data, layout) if isinstance(data, str | Path) else data
    return prepare_all(manifest, Path(out), recipe, workers=workers, progress=progress)


def train(
    request: "DataRequest",
    out: str | Path,
    training: "Training",
    *,
    device: str | None = None,
    progress: Progress = ignore,
    on_epoch: "Callable[[EpochResult], None] | None" = None,
) -> "FitResult":
    """Train a detector and keep its best epoch in a run folder; see `istvt.training.fit.fit`."""
    from istvt.training.fit import fit

    return fit(request, Path(out), training, device=device, progress=progress, on_epoch=on_epoch)


def evaluate(
    request: "DataRequest",
    run: str | Path | None = None,
    *,
    split: str = "test",
    scoring: "Scoring | None" = None,
    resamples: int = 1000,
    device: str | None = None,
    progress: Progress = ignore,
) -> "Report":
    """Measure a run on a labelled split, with intervals, and search it for training videos.

    Args:
        request: the data set and how it is read.
        run: its folder; None uses `$ISTVT_MODEL`, else the newest under `runs/`.
        split: train, val or test.
        scoring: which windows to score, and how; None scores all of the data's.
        resamples: for the bootstrap intervals; 0 omits these.
        device: a PyTorch device; None uses a GPU if there is one.
        progress: called with ("faces in SPLIT" or "score SPLIT", done, total).

    Raises:
        ModelNotFoundError: there is no run.
        DataError: the layout is wrong, or a class is left without a window.
        BackendError: the GPU is missing, fails or runs out of memory.
    """
    from istvt.data.known import read_videos
    from istvt.evaluation import evaluate as evaluating
    from istvt.evaluation.overlap import find_overlap
    from istvt.evaluation.report import Report
    from istvt.evaluation.scores import Scoring
    from istvt.evaluation.summary import summarise
    from istvt.models.load import load_run

    folder = find_run(None).folder if run is None else Path(run)
    model, config = load_run(folder)
    known = read_videos(folder)  # a damaged list is an error before the long work
    found, data = evaluating.evaluate(
        request,
        model,
        config,
        split=split,
        scoring=scoring or Scoring(),
        device=device,
        progress=progress,
    )
    overlap = find_overlap(known, data.videos, data.root)
    return Report(folder, found, summarise(found, resamples=resamples), data, overlap)


def export_bundle(
    run: str | Path | None = None,
    out: str | Path | None = None,
    *,
    precision: Precision = "fp32",
    clips: str | Path | None = None,
    engines: "EngineOptions | None" = None,
    progress: Progress = ignore,
) -> "Exported":
    """Export a run as a bundle of checked ONNX graphs, with engines on request.

    It is not named `export`, since `istvt.export` is the package that does the work.

    Args:
        run: its folder; None uses `$ISTVT_MODEL`, else the newest under `runs/`.
        out: the bundle's folder, ending in `.istvt`; None puts it beside the run.
        precision: the graphs'.
        clips: folder of videos to calibrate INT8 with; None uses the run's held-out windows.
        engines: options of the TensorRT engines to build; None builds none.
        progress: called as each step starts.

    Raises:
        ModelNotFoundError: there is no run.
        GateError: a graph's logits differ from the model's; `out` is unchanged.
        EngineError: an engine cannot be built.
    """
    from istvt.export.build import export_run

    folder = find_run(None).folder if run is None else Path(run)
    target = default_bundle(folder) if out is None else Path(out)
    return export_run(
        folder,
        target,
        precision=precision,
        clips=None if clips is None else Path(clips),
        engines=engines,
        progress=progress,
    )


def build_engines(
    bundle: str | Path, engines: "EngineOptions", *, progress: Progress = ignore
) -> "CheckedEngines":
    """Build the engines of a finished bundle; see `istvt.export.engines.parity.rebuild_engines`."""
    from istvt.export.engines.parity import rebuild_engines

    return rebuild_engines(open_bundle(Path(bundle)), engines, progress=progress)


def import_weights(checkpoint: str | Path, out: str | Path) -> "ImportReport":
    """Turn a checkpoint of the authors' code into a run.

    Raises:
        WeightsError: it is not such a checkpoint.
        UsageError: `out` holds a run.
    """
    from istvt.training.initial_weights import import_authors

    return import_authors(Path(checkpoint), Path(out))
