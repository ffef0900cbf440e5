"""Build engines and, where they can run, compare them with the graphs they were built from."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from istvt.bundle.engines import EngineRecord
from istvt.bundle.flavour import MODULES
from istvt.bundle.manifest import ENGINES_FOLDER, MANIFEST_FILE, Bundle
from istvt.errors import DeviceLostError, DeviceMemoryError, RuntimeEnvironmentError, UsageError
from istvt.export.engines.build import build_engines, check_builder, copy_timing_caches
from istvt.export.engines.builder import EngineOptions
from istvt.records import Progress, ignore
from istvt.runtime.backends.cuda.open import open_device
from istvt.runtime.parity import ParityResult, ParitySteps, gate, random_windows

DRAFT_PREFIX = ".draft-"
OLD_DRAFT_S = 24 * 3600.0  # left behind by a killed build


@dataclass(frozen=True)
class CheckedEngines:
    """The engines built, and how they were checked.

    Attributes:
        records: of the encoder and the window.
        parity: of the engines with the graphs; empty if they were not run.
        unchecked: why they were not run; empty if they were.
    """

    records: tuple[EngineRecord, ...]
    parity: tuple[ParityResult, ...] = ()
    unchecked: str = ""


def rebuild_engines(
    bundle: Bundle,
    options: EngineOptions,
    *,
    progress: Progress = ignore,
) -> CheckedEngines:
    """Build the engines of a finished bundle, whose files change only after all checks pass.

    The files are then renamed into place one by one, the manifest last. A kill between the renames
    can leave an engine with another sidecar, which is detected on opening.

    The manifest records the engines' results on windows of random pixels. They replace those of
    earlier engines of the same library.

    Raises:
        MissingExtraError: the library is not installed.
        UsageError: the bundle's folder is not writable.
        DeviceMemoryError: the GPU is full.
        DeviceLostError: the GPU stopped working.
        EngineError: a graph cannot be built, or not run on the GPU that it was built on.
        GateError: the engines disagree with the graphs.
    """
    check_builder(options)
    with _draft_of(bundle) as draft:
        steps = ParitySteps(random_windows(bundle.config.spec), progress)
        checked = build_and_check(draft, options, steps, progress=progress)
        _write_manifest(bundle, draft, options, checked)
        made_engines = sorted((draft.folder / ENGINES_FOLDER).iterdir())
        for made in (*made_engines, draft.folder / MANIFEST_FILE):
            made.replace(bundle.folder / made.relative_to(draft.folder))
    return checked


def build_and_check(
    draft: Bundle, options: EngineOptions, steps: ParitySteps, *, progress: Progress
) -> CheckedEngines:
    """Build a draft's engines, and compare them with the previous step where they can run.

    Whether they can run on this machine is checked once, before the build. If they can, later
    failures on its GPU are errors.

    Raises:
        DeviceMemoryError: the GPU is full.
        DeviceLostError: the GPU stopped working.
        EngineError: a graph cannot be built, or not run on the GPU that it was built on.
        GateError: the engines disagree with the graphs.
    """
    unchecked = _why_not_run(options)
    if unchecked:
        return CheckedEngines(
            tuple(build_engines(draft, options, progress=progress)), unchecked=unchecked
        )
    if not steps.have_begun:
        steps.run(draft, "onnxruntime")
    records = tuple(build_engines(draft, options, progress=progress))
    steps.run_engines(draft, MODULES[options.flavour])
    gate(steps.results)
    return CheckedEngines(records, parity=tuple(steps.results[-1:]))


def _why_not_run(options: EngineOptions) -> str:
    """Return why engines cannot run here; empty if they can."""
    try:
        gpu = open_device()
    except (DeviceMemoryError, DeviceLostError):
        raise  # there is a GPU
    except RuntimeEnvironmentError as error:
        return str(error)
    gpu.close()
    targets, capability = options.compute_capabilities, gpu.compute_capability
    if targets and capability not in targets:
        return f"they are for other GPUs than this one, of compute capability {capability}"
    return ""


@contextmanager
def _draft_of(bundle: Bundle) -> Iterator[Bundle]:
    """Yield a bundle of the same graphs without engines, in a temporary folder.

    The folder lies among the engines. Files can therefore be renamed from it, even if the bundle is
    a mount, and no manifest lists it.
    """
    engines = bundle.folder / ENGINES_FOLDER
    try:
        engines.mkdir(exist_ok=True)
        scratch = TemporaryDirectory(dir=engines, prefix=DRAFT_PREFIX)
    except OSError as error:
        raise UsageError(f"no engines can be written in {bundle.folder}: {error}") from error
    for left in engines.glob(f"{DRAFT_PREFIX}*"):
        if time.time() - left.stat().st_mtime > OLD_DRAFT_S:
            shutil.rmtree(left, ignore_errors=True)
    with scratch as name:
        folder = Path(name)
        (folder / ENGINES_FOLDER).mkdir()
        for graph in bundle.folder.glob("*.onnx*"):
            _link(graph, folder / graph.name)
        copy_timing_caches(engines, folder / ENGINES_FOLDER)
        yield replace(bundle, folder=folder)


def _write_manifest(
    bundle: Bundle, draft: Bundle, options: EngineOptions, checked: CheckedEngines
) -> None:
    """Replace the rows of earlier engines, but keep those of the other library."""
    backend = MODULES[options.flavour]
    kept = [row for row in bundle.parity if row["candidate"].split()[0] != backend]
    rows = (*kept, *(result.to_dict() for result in checked.parity))
    replace(draft, parity=rows).write_manifest()
    shutil.copystat(bundle.folder / MANIFEST_FILE, draft.folder / MANIFEST_FILE)  # no newer model


def _link(source: Path, target: Path) -> None:
    """Link a file to a second name, or copy it where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
