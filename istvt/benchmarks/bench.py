"""Measure a bundle's backends and compare them with a naive implementation.

All subjects are loaded at once and take turns, A B C A B C. A machine that slows down meanwhile
slows all of them down.
"""

import datetime
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from istvt.benchmarks.process import Loaded, Turn, Worker, WorkerProcess
from istvt.benchmarks.report import BenchModel, BenchReport, Row, row_of
from istvt.benchmarks.worker import NAIVE, Job
from istvt.bundle.engines import GRAPHS, engine_path
from istvt.bundle.manifest import Bundle
from istvt.environment import describe_environment
from istvt.errors import BackendError, UsageError
from istvt.extras import require
from istvt.presets import CropRecipe, ModelConfig, Preset
from istvt.records import Progress, ignore
from istvt.runtime.backends.choose import BACKEND_NAMES, BACKENDS, Backend
from istvt.scorer import DeviceName, check_device

ROUNDS, SECONDS = 5, 1.0
QUICK_ROUNDS, QUICK_SECONDS = 2, 0.2


@dataclass(frozen=True)
class BenchRequest:
    """What to measure and for how long; checked when it is created.

    Attributes:
        backends: some of `BACKEND_NAMES`; None is `default_backends`.
        device: `cpu`, `cuda` or `auto`, for every row.
        threads: CPU threads for the model; None is all cores.
        rounds: turns of each row.
        seconds: measuring time per row over all rounds; each turn measures at least two frames.

    Raises:
        UsageError: an unknown backend or device, or nothing to measure.
    """

    backends: Sequence[str] | None = None
    device: str = "auto"
    threads: int | None = None
    rounds: int = ROUNDS
    seconds: float = SECONDS

    def __post_init__(self) -> None:
        backends = self.backends
        unknown = [name for name in backends or () if name not in BACKEND_NAMES]
        if unknown or (backends is not None and not backends):
            raise UsageError(
                f"cannot measure {', '.join(unknown) or 'no backend'}: "
                f"choose from {', '.join(BACKEND_NAMES)}"
            )
        if self.rounds < 1 or not 0 < self.seconds < float("inf"):
            raise UsageError(
                f"{self.rounds} rounds of {self.seconds} s together: both must be above 0"
            )
        check_device(self.device)


EVERYTHING = BenchRequest()


def run_bench(
    bundle: Bundle,
    request: BenchRequest = EVERYTHING,
    *,
    random_weights: bool = False,
    progress: Progress = ignore,
    start: Callable[[Job], Worker] = WorkerProcess,
) -> BenchReport:
    """Measure the naive implementation and each backend, each in its own process.

    A backend that is not installed or fails gets a row with the reason.

    Args:
        bundle: on disk with its manifest, since each process opens it.
        request: what to measure and for how long.
        random_weights: recorded in the report.
        progress: called with `(stage, done, total)`.
        start: starts the worker for a job.
    """
    device, backends, rounds = check_device(request.device), request.backends, request.rounds
    if backends is None:
        backends = default_backends(bundle, device=device)
    jobs = [
        Job(subject, str(bundle.folder), device, request.threads)
        for subject in (NAIVE, *dict.fromkeys(backends))
    ]
    environment = describe_environment()
    with ExitStack() as stack:
        entries = [_Entry(job, stack.enter_context(closing(start(job)))) for job in jobs]
        _measure(entries, rounds=rounds, turn_s=request.seconds / rounds, progress=progress)
    return BenchReport(
        model=BenchModel.of(
            bundle.config.preset,
            precision=bundle.precision,
            digest=bundle.digest,
            folder="" if random_weights else str(bundle.folder),
            random_weights=random_weights,
        ),
        environment=environment,
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        rounds=rounds,
        seconds=request.seconds,
        threads=request.threads,
        rows=tuple(entry.row(naive=entries[0]) for entry in entries),
    )


def default_backends(bundle: Bundle, *, device: DeviceName) -> tuple[str, ...]:
    """List the backends to measure by default: some always, some only if their engines exist."""
    return tuple(
        backend.name
        for backend in BACKENDS
        if backend.is_measured or (device != "cpu" and _has_engines(bundle, backend))
    )


def _has_engines(bundle: Bundle, backend: Backend) -> bool:
    flavour = backend.flavour
    return flavour is not None and all(
        engine_path(bundle.folder, graph, flavour).is_file() for graph in GRAPHS
    )


@contextmanager
def random_bundle(preset: Preset, *, progress: Progress = ignore) -> Iterator[Bundle]:
    """Write a bundle of a preset with random weights, and delete it when the block ends.

    Raises:
        MissingExtraError: PyTorch or onnx is not installed.
    """
    for module in ("torch", "onnx", "onnxscript"):
        require(module, extra="cpu")
    from istvt.export.build import write_graphs
    from istvt.models.load import build_model

    config = ModelConfig(preset=preset, crop=CropRecipe(size_px=preset.image_size))
    with TemporaryDirectory(prefix="istvt-bench-") as scratch:
        folder = Path(scratch) / f"{preset.name}.istvt"
        folder.mkdir()
        bundle = write_graphs(build_model(config).eval(), config, folder, progress=progress)
        bundle.write_manifest()
        yield bundle


class _Entry:
    """Takes one subject through the rounds; a subject that fails skips the rest."""

    def __init__(self, job: Job, worker: Worker) -> None:
        self._name, self._worker = job.subject, worker
        self._loaded: Loaded | None = None
        self._warm_up_calls = 0
        self._turns: list[Turn] = []
        self._reason = ""

    def load(self) -> None:
        self._loaded = self._worker.load()

    def warm_up(self) -> None:
        self._warm_up_calls = self._worker.warm_up()

    def measure(self, seconds: float) -> None:
        self._turns.append(self._worker.measure(seconds))

    def attempt(self, step: "Callable[[_Entry], None]") -> None:
        if self._reason:
            return
        try:
            step(self)
        except BackendError as error:
            self._reason = str(error)
            self._turns.clear()
            self._worker.close()

    def row(self, *, naive: "_Entry") -> Row:
        if self._reason or self._loaded is None:
            return Row(name=self._name, reason=self._reason)
        return row_of(
            self._name,
            self._loaded,
            warm_up_calls=self._warm_up_calls,
            turns=self._turns,
            naive=naive._turns,
        )


def _measure(entries: list[_Entry], *, rounds: int, turn_s: float, progress: Progress) -> None:
    stages: tuple[tuple[str, int, Callable[[_Entry], None]], ...] = (
        ("load", 1, _Entry.load),
        ("warm up", 1, _Entry.warm_up),
        ("measure", rounds, lambda entry: entry.measure(turn_s)),
    )
    for stage, times, step in stages:
        total = times * len(entries)
        for done in range(total):
            progress(stage, done, total)
            entries[done % len(entries)].attempt(step)
        progress(stage, total, total)
