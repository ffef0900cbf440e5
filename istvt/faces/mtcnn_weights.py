"""Write MTCNN's three ONNX networks into a folder, from facenet-pytorch's weight files."""

import logging
import os
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

from istvt.errors import MissingExtraError, RuntimeEnvironmentError, UsageError
from istvt.extras import require
from istvt.faces import mtcnn_graphs
from istvt.faces.mtcnn_graphs import Weights

log = logging.getLogger(__name__)

GRAPH_VERSION = 1  # increase it when the graphs change, so that cached ones are rebuilt
PACKAGE = "facenet-pytorch"
FILE_NAMES = ("pnet.onnx", "rnet.onnx", "onet.onnx")


def detector_folder() -> Path:
    """Return the folder of this user's detector; build it on first use.

    Raises:
        MissingExtraError: it must be built, and facenet-pytorch, torch or onnx is not installed.
        RuntimeEnvironmentError: the cache cannot be written.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(cache) / "istvt" / f"mtcnn-{GRAPH_VERSION}"
    if not is_detector(folder):
        build_detector(folder)
    return folder


def is_detector(folder: Path) -> bool:
    """Check whether the folder holds the three networks."""
    return all((folder / name).is_file() for name in FILE_NAMES)


def build_detector(folder: Path) -> None:
    """Write the three networks into a folder: all or none.

    A folder that already holds them is kept; another process may have written it meanwhile.

    Raises:
        MissingExtraError: facenet-pytorch, torch or onnx is not installed.
        RuntimeEnvironmentError: the folder cannot be written.
        UsageError: the folder holds something else.
    """
    graphs = (
        mtcnn_graphs.proposal_graph(load_weights("pnet")),
        mtcnn_graphs.rejection_graph(load_weights("rnet")),
        mtcnn_graphs.output_graph(load_weights("onet")),
    )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
            unfinished = Path(scratch) / "detector"
            unfinished.mkdir()
            for name, content in zip(FILE_NAMES, graphs, strict=True):
                (unfinished / name).write_bytes(content)
            _move_into_place(unfinished, folder)
    except OSError as error:
        raise RuntimeEnvironmentError(
            f"the face detector cannot be written to {folder}: {error.strerror}. "
            "Set XDG_CACHE_HOME to a writable folder"
        ) from error
    log.info("wrote the face detector to %s", folder)


def load_weights(network: str) -> Weights:
    """Read one network's weights from the installed facenet-pytorch, without importing it.

    Args:
        network: pnet, rnet or onet.

    Raises:
        MissingExtraError: facenet-pytorch or torch is not installed.
    """
    path = _packaged_file(f"{network}.pt")
    torch = require("torch", extra="train")
    tensors = torch.load(path, map_location="cpu", weights_only=True)
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def _packaged_file(name: str) -> Path:
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == name and file.parent.name == "data":
            return Path(str(file.locate()))
    raise MissingExtraError(
        f"the face detector is built from {name} of {PACKAGE}, which is not installed: "
        "pip install 'istvt[train]', or pass the folder of a detector built elsewhere"
    )


def _move_into_place(unfinished: Path, folder: Path) -> None:
    try:
        unfinished.rename(folder)
    except OSError as error:
        if is_detector(folder):
            return
        if folder.exists():
            raise UsageError(
                f"{folder} exists but is no face detector: delete it or choose another folder"
            ) from error
        raise
