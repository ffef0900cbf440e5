"""Resolve the `--model` option to a run or bundle by the rules of the command line.

The order is `--model`, then `$ISTVT_MODEL`, then the newest run under `runs/`, or the newest
`*.istvt` here or under `runs/`.
"""

import os
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from istvt.errors import ModelNotFoundError
from istvt.files import recover_folder

MODEL_VARIABLE = "ISTVT_MODEL"
RUNS_FOLDER = Path("runs")
BUNDLE_SUFFIX = ".istvt"
RUN_FILE, BUNDLE_FILE = "config.json", "bundle.json"


@dataclass(frozen=True)
class Located:
    """A model's folder and why it was chosen, for the first line that a command prints."""

    folder: Path
    reason: str


def find_run(model: Path | None) -> Located:
    """Find the run to export or evaluate.

    Raises:
        ModelNotFoundError: no run is found, or the one named is none; names what makes runs.
    """
    named = _named(model)
    if named is None:
        return _newest(_runs(), "run under runs/", "`istvt train DATA` or `istvt demo` makes one")
    if (named.folder / BUNDLE_FILE).is_file():
        raise ModelNotFoundError(
            f"{named.folder} ({named.reason}) is a bundle, and a run is needed: give the folder "
            "that `istvt train` wrote with --model"
        )
    if not (named.folder / RUN_FILE).is_file():
        raise ModelNotFoundError(
            f"{named.folder} ({named.reason}) is not a run (no {RUN_FILE} in it): `istvt train` "
            "makes runs"
        )
    return named


def find_bundle(model: Path | None) -> Located:
    """Find the bundle to score, stream or measure with.

    Raises:
        ModelNotFoundError: no bundle is found, or the one named is none; names what makes bundles.
    """
    named = _named(model)
    if named is not None:
        recover_folder(named.folder)  # an export may have been killed
    if named is None:
        return _newest(_bundles(), "bundle here", "`istvt export` or `istvt demo` makes one")
    if (named.folder / BUNDLE_FILE).is_file():
        return named
    if (named.folder / RUN_FILE).is_file():
        raise ModelNotFoundError(
            f"{named.folder} ({named.reason}) is a run, and a bundle is needed: "
            f"istvt export --model {shlex.quote(str(named.folder))}"
        )
    problem = f"no {BUNDLE_FILE} in it" if named.folder.exists() else "there is no such folder"
    raise ModelNotFoundError(
        f"{named.folder} ({named.reason}) is not a bundle: {problem}; `istvt export` makes bundles"
    )


def default_bundle(run: Path) -> Path:
    """Return the default path of a run's bundle: beside the run."""
    return run.resolve().with_name(run.resolve().name + BUNDLE_SUFFIX)


def _named(model: Path | None) -> Located | None:
    if model is not None:
        return Located(model, "--model")
    if variable := os.environ.get(MODEL_VARIABLE):
        return Located(Path(variable), f"${MODEL_VARIABLE}")
    return None


def _runs() -> Iterable[Path]:
    return (path.parent for path in RUNS_FOLDER.glob(f"*/{RUN_FILE}"))


def _bundles() -> Iterable[Path]:
    for folder in (Path(), RUNS_FOLDER):
        for aside in folder.glob(f".*{BUNDLE_SUFFIX}.old"):
            recover_folder(aside.with_name(aside.name[1:].removesuffix(".old")))
        yield from (path.parent for path in folder.glob(f"*{BUNDLE_SUFFIX}/{BUNDLE_FILE}"))


def _newest(folders: Iterable[Path], what: str, remedy: str) -> Located:
    found = sorted(folders, key=_age_key)
    if not found:
        raise ModelNotFoundError(
            f"there is no {what}, and neither --model nor ${MODEL_VARIABLE} names one: {remedy}"
        )
    return Located(found[-1], f"the newest {what}")


def _age_key(folder: Path) -> float:
    manifest = folder / (BUNDLE_FILE if folder.suffix == BUNDLE_SUFFIX else RUN_FILE)
    return manifest.stat().st_mtime
