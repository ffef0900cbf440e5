"""Read, write and check an engine's JSON sidecar before the engine is loaded.

The sidecar records what the engine was built with, for and from. Needs neither TensorRT nor onnx:
the edge device reads engines with this module.
"""

import json
import shlex
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from istvt.bundle.flavour import TITLES, Flavour
from istvt.bundle.manifest import ENGINES_FOLDER, Bundle
from istvt.errors import EngineError, UsageError
from istvt.files import sha256_of_bytes
from istvt.kernels.spec import AttentionName

GraphName: TypeAlias = Literal["encoder", "window"]

SCHEMA_VERSION = 2
GRAPHS: tuple[GraphName, ...] = get_args(GraphName)
WAYS: dict[str, tuple[AttentionName, ...]] = {  # of building a window's engine in TensorRT
    "no plugin": (),
    "temporal plugin": ("temporal",),
    "both plugins": ("temporal", "spatial"),
}
LEAST_RTX_CAPABILITY = 80  # TensorRT-RTX's own default is 8.0 and later


@dataclass(frozen=True)
class Place:
    """The library and machine that load an engine.

    Attributes:
        version: of TensorRT.
        cuda: major version that TensorRT was built for; empty if unknown.
        driver: as CUDA numbers it, 13010 for 13.1.
        compute_capability: of the GPU, 89 for 8.9.
    """

    version: str
    cuda: str
    driver: int
    compute_capability: int


@dataclass(frozen=True)
class EngineRecord:
    """The content of a sidecar.

    Attributes:
        flavour: `rtx` or `tensorrt`.
        version: of TensorRT; an engine runs only with the exact version that built it.
        cuda: major version that TensorRT was built for; empty if unknown.
        driver: as CUDA numbers it, 13010 for 13.1; None if the builder had no GPU.
        gpu: name of the builder's GPU; empty if it had none.
        compute_capabilities: that the engine runs on, 89 for 8.9; empty for all from 8.0.
        precision: of the graphs.
        max_batch: rows of the profile, from 1.
        plugins: attentions that our fused kernels compute.
        window_ms: of one window, for each of `WAYS` that was measured.
        onnx: name to SHA-256 of the files it was built from.
        sha256, num_bytes: of the engine.
        num_layers: of the network before optimisation.
        build_s: seconds that building took.
    """

    flavour: Flavour
    version: str
    cuda: str
    driver: int | None
    gpu: str
    compute_capabilities: tuple[int, ...]
    precision: str
    max_batch: int
    plugins: tuple[AttentionName, ...]
    onnx: dict[str, str]
    sha256: str
    num_bytes: int
    num_layers: int
    build_s: float
    window_ms: dict[str, float] = field(default_factory=dict)

    @property
    def way(self) -> str:
        """Name the plugins that the engine contains."""
        return next(name for name, attentions in WAYS.items() if attentions == self.plugins)

    def fits(self, compute_capability: int) -> bool:
        """Return whether the engine was built for a GPU, 89 for 8.9."""
        if self.compute_capabilities:
            return compute_capability in self.compute_capabilities
        return compute_capability >= LEAST_RTX_CAPABILITY

    @property
    def least_driver(self) -> int:
        """The oldest driver to run on: the builder's, or the first for the CUDA version."""
        return self.driver if self.driver is not None else 1000 * int(self.cuda or 0)

    def write(self, path: Path) -> None:
        """Write the sidecar."""
        values = {"schema_version": SCHEMA_VERSION, **asdict(self)}
        path.write_text(json.dumps(values, indent=2) + "\n")


def engine_path(folder: Path, graph: GraphName, flavour: Flavour) -> Path:
    """Return the path of a graph's engine in a bundle; its sidecar ends in `.json` instead."""
    return folder / ENGINES_FOLDER / f"{graph}-{flavour}.engine"


def sidecar_of(engine: Path) -> Path:
    """Return the path of an engine's sidecar."""
    return engine.with_suffix(".json")


def onnx_digests(bundle: Bundle, graph: GraphName) -> dict[str, str]:
    """Return the digests, from the manifest, of the files that make up one graph."""
    name = f"{graph}.onnx"
    return {file: bundle.files[file] for file in (name, f"{name}.data") if file in bundle.files}


def read_record(engine: Path) -> EngineRecord:
    """Read the sidecar of an engine.

    Raises:
        EngineError: it is missing or damaged, or has another schema.
    """
    path = sidecar_of(engine)
    try:
        values: dict[str, Any] = json.loads(path.read_text())
        version = values.pop("schema_version")
        if version != SCHEMA_VERSION:
            raise EngineError(
                f"{path} has schema version {version}, this istvt reads {SCHEMA_VERSION}"
            )
        for name in ("compute_capabilities", "plugins"):
            values[name] = tuple(values[name])
        record = EngineRecord(**values)
        if record.flavour not in TITLES or not record.max_batch > 0:
            raise ValueError(f"{record.flavour!r} engine for {record.max_batch!r} rows")
        if record.least_driver < 0:
            raise ValueError(f"CUDA {record.cuda!r}, driver {record.driver!r}")
        if record.plugins not in WAYS.values():
            raise ValueError(f"plugins {record.plugins!r}")
        return record
    except FileNotFoundError as error:
        raise EngineError(f"{engine} has no sidecar {path.name}, which says what it is") from error
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise EngineError(f"{path} is damaged ({error!r})") from error


def open_engine(
    bundle: Bundle, graph: GraphName, flavour: Flavour, *, place: Place
) -> tuple[EngineRecord, bytes]:
    """Read an engine of a bundle after checking everything in its sidecar.

    Args:
        bundle: opened, so that its ONNX files match its manifest.
        graph: encoder or window.
        flavour: of the TensorRT that will load the engine.
        place: that TensorRT, and the machine.

    Raises:
        EngineError: there is no engine, or it does not fit; names the command that builds one.
    """
    path = engine_path(bundle.folder, graph, flavour)
    rebuild = rebuild_command(bundle.folder, flavour)
    if not path.is_file():
        raise EngineError(f"{bundle.folder} has no {TITLES[flavour]} engine: {rebuild}")
    try:
        record = read_record(path)
        _check_place(record, path, flavour, place)
        if record.onnx != onnx_digests(bundle, graph):
            raise EngineError(f"{path} was built from other ONNX files than those beside it")
        return record, _read_engine(record, path)
    except EngineError as error:
        raise EngineError(f"{error}; rebuild it: {rebuild}") from error


def _check_place(record: EngineRecord, path: Path, flavour: Flavour, place: Place) -> None:
    title = TITLES[flavour]
    if record.flavour != flavour:
        raise EngineError(f"{path} is for {TITLES[record.flavour]}, not for {title}")
    if record.version != place.version:
        raise EngineError(
            f"{path} was built by {title} {record.version}, and this is {place.version}"
        )
    if record.cuda and place.cuda and record.cuda != place.cuda:
        raise EngineError(
            f"{path} was built for CUDA {record.cuda}, and this {title} is for {place.cuda}"
        )
    if place.driver < record.least_driver:
        raise EngineError(
            f"{path} was built for a driver of CUDA {format_driver(record.least_driver)} or "
            f"later, and this one is of {format_driver(place.driver)}: update the driver"
        )
    if not record.fits(place.compute_capability):
        capabilities = record.compute_capabilities
        built_for = ", ".join(map(str, capabilities)) or f"{LEAST_RTX_CAPABILITY} and later"
        raise EngineError(
            f"{path} was built for compute capability {built_for}, and this GPU has "
            f"{place.compute_capability}"
        )


def format_driver(version: int) -> str:
    """Format a driver's version as 13.1 for 13010."""
    return f"{version // 1000}.{version % 1000 // 10}"


def _read_engine(record: EngineRecord, path: Path) -> bytes:
    content = path.read_bytes()
    if len(content) != record.num_bytes:
        raise EngineError(f"{path} has {len(content)} bytes of {record.num_bytes}: it is cut off")
    if sha256_of_bytes(content) != record.sha256:
        raise EngineError(f"{path} is not the file that was built (its SHA-256 differs)")
    return content


def rebuild_command(folder: Path, flavour: Flavour) -> str:
    """Return the command that builds the engines of a bundle from its ONNX files."""
    return f"istvt export --model {shlex.quote(str(folder))} --engine {flavour}"


def parse_capabilities(text: str | None) -> tuple[int, ...]:
    """Read `86,89,120` or `8.6,8.9,12.0`.

    Raises:
        UsageError: the text has another form.
    """
    if text is None:
        return ()
    try:
        found = tuple(int(part.strip().replace(".", "")) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"--compute-capability is {text!r}: give numbers, as in 86,89") from error
    if any(not 50 <= number <= 199 for number in found):
        raise UsageError(f"--compute-capability is {text!r}: 8.6 is written 86, 12.0 as 120")
    return tuple(dict.fromkeys(found))
