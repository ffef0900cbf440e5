"""Engines built and, where they can run, held against the graphs that they were built from."""

import os
import shutil
from dataclasses import dataclass, replace

from istvt.errors import RuntimeEnvironmentError, UsageError
from istvt.export.bundle import MANIFEST_FILE, Bundle
from istvt.export.engine import EngineOptions
from istvt.export.engine_monitor import BuildProgress
from istvt.export.engine_record import EngineRecord
from istvt.export.engines import build_engines, check_builder
from istvt.export.flavour import MODULES
from istvt.export.parity import ParityResult, gate, random_windows
from istvt.export.steps import ParitySteps, Progress
from istvt.files import atomic_folder
from istvt.runtime.backends.open_device import open_device


@dataclass(frozen=True)
class CheckedEngines:
    """What was built, and how it was checked.

    Attributes:
        records: of the encoder and the window.
        parity: of the engines with the graphs; empty where they were not run.
        unchecked: why they were not run; empty where they were.
    """

    records: tuple[EngineRecord, ...]
    parity: tuple[ParityResult, ...] = ()
    unchecked: str = ""


def rebuild_engines(
    bundle: Bundle,
    options: EngineOptions,
    *,
    progress: Progress = lambda step: None,
    build_progress: BuildProgress = lambda stage, done, total: None,
) -> CheckedEngines:
    """Build the engines of a finished bundle, which changes only when everything passed.

    What the engines say of windows of random pixels goes into the manifest, in the place of what
    earlier engines of the same library said.

    Raises:
        MissingExtraError: the library is not installed.
        UsageError: the bundle's folder cannot be replaced.
        EngineError: a graph cannot be built, or not run on the GPU that it was built on.
        GateError: the engines do not say what the graphs say.
    """
    check_builder(options)
    place = bundle.folder.resolve()
    if os.path.ismount(place):
        raise UsageError(f"{place} is a mount and cannot be replaced: mount the folder around it")
    with atomic_folder(place) as folder:
        shutil.copytree(place, folder, copy_function=_link, dirs_exist_ok=True)
        draft = replace(bundle, folder=folder)
        steps = ParitySteps(random_windows(bundle.config.preset), progress)
        checked = build_and_check(draft, options, steps, progress=build_progress)
        _write_manifest(draft, options, checked)
    return checked


def build_and_check(
    draft: Bundle, options: EngineOptions, steps: ParitySteps, *, progress: BuildProgress
) -> CheckedEngines:
    """Build a draft's engines, and compare them with the step before where they can run.

    Whether this machine has a GPU is asked once, before the build: if it has, what fails on it is
    an error from then on.

    Raises:
        EngineError: a graph cannot be built, or not run on the GPU that it was built on.
        GateError: the engines do not say what the graphs say.
    """
    capability, unchecked = _look_for_gpu()
    if capability is not None and not steps.have_begun:
        steps.run(draft, "onnxruntime")
    records = tuple(build_engines(draft, options, progress=progress))
    if capability is not None and not all(record.fits(capability) for record in records):
        unchecked = f"they are for other GPUs than this one, of compute capability {capability}"
    if unchecked:
        return CheckedEngines(records, unchecked=unchecked)
    steps.run(draft, MODULES[options.flavour], device="cuda")
    gate(steps.results)
    return CheckedEngines(records, parity=tuple(steps.results[-1:]))


def _look_for_gpu() -> tuple[int | None, str]:
    """Give the GPU's compute capability, 89 for 8.9; without one None, and the reason."""
    try:
        gpu = open_device()
    except RuntimeEnvironmentError as error:
        return None, str(error)
    gpu.close()
    return gpu.compute_capability, ""


def _write_manifest(draft: Bundle, options: EngineOptions, checked: CheckedEngines) -> None:
    """Replace the rows of earlier engines; those of the other library's stay."""
    backend = MODULES[options.flavour]
    kept = [row for row in draft.parity if row["candidate"].split()[0] != backend]
    rows = (*kept, *(result.to_dict() for result in checked.parity))
    manifest = draft.folder / MANIFEST_FILE
    written = manifest.stat()
    manifest.unlink()  # it is the old bundle's too
    replace(draft, parity=rows).write_manifest()
    os.utime(manifest, ns=(written.st_atime_ns, written.st_mtime_ns))  # the model is no newer


def _link(source: str, target: str) -> str:
    """Give a file a second name, without a copy where the file system can."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target
