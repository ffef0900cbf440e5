"""Read, write and check `model.istvt/`: graphs, weights and a `bundle.json` that describes them.

Needs no torch: the edge device reads bundles with this module.
"""

import hashlib
import json
import shlex
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from istvt.errors import BundleError, ModelNotFoundError, UsageError
from istvt.files import recover_folder, sha256_of
from istvt.presets import ModelConfig
from istvt.scorer import ScorerInfo

SCHEMA_VERSION = 1
MANIFEST_FILE = "bundle.json"
ENCODER_FILE = "encoder.onnx"
WINDOW_FILE = "window.onnx"
INLINED_WINDOW_FILE = "window.inlined.onnx"
WEIGHTS_FILE = "weights.safetensors"
DETECTOR_FOLDER = "detector"
ENGINES_FOLDER = "engines"  # each engine has its own sidecar; the manifest lists none
LABELS = ("real", "fake")


@dataclass(frozen=True)
class ScorePolicy:
    """How a logit becomes a probability and a verdict.

    Attributes:
        threshold: the probability from which a face counts as fake.
        temperature: divides the logit before the sigmoid; None if no probability calibration has
            been done.
    """

    threshold: float = 0.5
    temperature: float | None = None


@dataclass(frozen=True)
class Bundle:
    """The content of a bundle; the files lie under `folder`.

    Attributes:
        precision: of the graphs: fp32, fp16, bf16, int8 (the products of the window graph).
        calibration: of INT8 graphs: the source of the ranges, and its SHA-256.
        parity: one row per step, as `ParityResult.to_dict` returns it.
        files: name relative to `folder` to SHA-256.
        tools: package to version, at export.
    """

    folder: Path
    config: ModelConfig
    precision: str
    policy: ScorePolicy = ScorePolicy()
    parity: tuple[dict[str, Any], ...] = ()
    calibration: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    tools: dict[str, str] = field(default_factory=dict)
    created: str = ""

    @property
    def encoder(self) -> Path:
        """The encoder's graph."""
        return self.folder / ENCODER_FILE

    @property
    def window(self) -> Path:
        """The window's graph."""
        return self.folder / WINDOW_FILE

    @property
    def inlined_window(self) -> Path:
        """The window's graph with our nodes replaced by their bodies; shares the weights."""
        return self.folder / INLINED_WINDOW_FILE

    @property
    def weights(self) -> Path:
        """The weights for PyTorch."""
        return self.folder / WEIGHTS_FILE

    @property
    def detector(self) -> Path:
        """The face detector's graphs."""
        return self.folder / DETECTOR_FOLDER

    @property
    def digest(self) -> str:
        """A hex string that identifies the content of all files."""
        lines = "".join(f"{name} {digest}\n" for name, digest in sorted(self.files.items()))
        return hashlib.sha256(lines.encode()).hexdigest()

    def scorer_info(self, backend: str, *, device: str, precision: str | None = None) -> ScorerInfo:
        """Describe a backend that runs this bundle, in the graphs' precision by default."""
        return ScorerInfo(
            backend=backend,
            device=device,
            precision=precision or self.precision,
            bundle_digest=self.digest,
            spec=self.config.spec,
        )

    def with_digests(self) -> "Bundle":
        """List the files now in the folder, except engines, with their digests."""
        found = sorted(path for path in self.folder.rglob("*") if path.is_file())
        names = {path.relative_to(self.folder).as_posix(): path for path in found}
        names.pop(MANIFEST_FILE, None)
        names = {name: path for name, path in names.items() if _is_listed(name)}
        return replace(self, files={name: sha256_of(path) for name, path in names.items()})

    def write_manifest(self) -> None:
        """Write `bundle.json`; the last step of an export."""
        values = {
            "schema_version": SCHEMA_VERSION,
            "model": self.config.to_dict(),
            "labels": list(LABELS),
            "preprocessing": "faces are uint8 RGB, (n, S, S, 3); encoder.onnx normalises them",
            "precision": self.precision,
            "policy": asdict(self.policy),
            "calibration": self.calibration,
            "parity": list(self.parity),
            "files": self.files,
            "tools": self.tools,
            "created": self.created,
        }
        (self.folder / MANIFEST_FILE).write_text(json.dumps(values, indent=2) + "\n")


def _is_listed(name: str) -> bool:
    return not name.startswith(f"{ENGINES_FOLDER}/")


def open_bundle(folder: Path) -> Bundle:
    """Read a bundle and check every file against its digest.

    Raises:
        ModelNotFoundError: there is no such folder, or it is not a bundle.
        BundleError: the schema is newer, or a file is missing or was changed.
    """
    recover_folder(folder)
    manifest = folder / MANIFEST_FILE
    if not manifest.is_file():
        reason = f"it has no {MANIFEST_FILE}" if folder.is_dir() else "there is no such folder"
        hint = "`istvt export` makes bundles"
        if (folder / "config.json").is_file():
            hint = f"it is a run: istvt export --model {shlex.quote(str(folder))}"
        raise ModelNotFoundError(f"{folder} is not a bundle: {reason}; {hint}")
    bundle = _parse(folder, manifest)
    _check_files(bundle)
    return bundle


def _parse(folder: Path, manifest: Path) -> Bundle:
    try:
        values: Any = json.loads(manifest.read_text())
        version = values["schema_version"]
        if version != SCHEMA_VERSION:
            raise BundleError(
                f"{manifest} has schema version {version}, this istvt reads {SCHEMA_VERSION}: "
                "export the model again, or install the istvt that wrote it"
            )
        return Bundle(
            folder=folder,
            config=ModelConfig.from_dict(values["model"]),
            precision=values["precision"],
            policy=ScorePolicy(**values["policy"]),
            calibration=dict(values["calibration"]),
            parity=tuple(values["parity"]),
            files=dict(values["files"]),
            tools=dict(values["tools"]),
            created=values["created"],
        )
    except (ValueError, KeyError, TypeError, UsageError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(
            f"{manifest} is damaged, or of another istvt ({error}): export the model again"
        ) from error


def _check_files(bundle: Bundle) -> None:
    for name in (ENCODER_FILE, WINDOW_FILE, INLINED_WINDOW_FILE, WEIGHTS_FILE):
        if name not in bundle.files:
            raise BundleError(f"{bundle.folder / MANIFEST_FILE} lists no {name}: export again")
    for name, digest in bundle.files.items():
        path = bundle.folder / name
        if not path.is_file():
            raise BundleError(f"{path} is missing: export the model again")
        if sha256_of(path) != digest:
            raise BundleError(
                f"{path} is not the file that was exported (its SHA-256 differs): export again"
            )
