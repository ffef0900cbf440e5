"""Save and restore the state that a training resumes from, in one safetensors file.

The tensors are the weights, their average, the optimizer's moments and the random generators. The
rest is JSON in the file's header; no pickle is read. The file is replaced as a whole, so a kill
leaves the old state or the new. With several processes all have the same state, and the first one
writes it. This holds since all processes draw the same dropout, and a window's augmentation depends
only on its place in the epoch.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from istvt.data.layouts.choose import DEFAULT, LayoutOptions
from istvt.data.prepared.folder import is_prepared, read_recipe
from istvt.errors import ModelNotFoundError, WeightsError
from istvt.extras import require
from istvt.files import atomic_file
from istvt.models.base import VideoModel
from istvt.presets import ModelConfig
from istvt.training.run.recipe import TrainRecipe


@dataclass(frozen=True)
class DataFacts:
    """Where the data is and how it is read; `known` lists its videos.

    Attributes:
        folder: resolved; the data may move later.
        max_frames: sampled frames read from each video; None reads all.
        layout: how the folder was read.
        codec: how the faces are packed: png, or jpeg with its quality.
    """

    folder: str
    max_frames: int | None = None
    layout: LayoutOptions = DEFAULT
    codec: str = "png"

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "DataFacts":
        """Read the output of `asdict`, after a round trip through JSON."""
        layout = dict(values["layout"])
        if layout["methods"] is not None:
            layout["methods"] = tuple(layout["methods"])
        return cls(**{**values, "layout": LayoutOptions(**layout)})


def codec_of(data: Path) -> str:
    """Return how a prepared folder packs its faces; the faces of raw videos are packed as png.

    Raises:
        DataError: the folder is damaged.
    """
    if not is_prepared(data):
        return "png"
    recipe = read_recipe(data)
    return recipe.codec if recipe.codec == "png" else f"{recipe.codec} {recipe.quality}"


LAST_FILE = "last.safetensors"
HEADER = "istvt_training"


class Scaling(Protocol):
    """Fabric's precision plugin, which holds the loss scale of fp16."""

    def state_dict(self) -> dict[str, Any]: ...  # noqa: D102
    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...  # noqa: D102


class Average(Protocol):
    """The moving average of the weights, as `training.optimizer.WeightAverage` keeps it."""

    @property
    def model(self) -> VideoModel: ...  # noqa: D102
    @property
    def steps(self) -> int: ...  # noqa: D102
    def update(self, model: VideoModel) -> None: ...  # noqa: D102
    def load(self, tensors: Mapping[str, Tensor], steps: int) -> None: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class TrainState:
    """The objects that change during training."""

    model: VideoModel
    average: Average | None
    optimizer: Optimizer
    schedule: LambdaLR
    scaling: Scaling

    @property
    def kept(self) -> VideoModel:
        """The model that is validated and kept: the average if there is one."""
        return self.average.model if self.average else self.model


@dataclass(frozen=True)
class Position:
    """The progress of the current epoch.

    Attributes:
        epoch: its number, from 1.
        step: its finished steps.
        loss_sum: the sum of their losses.
    """

    epoch: int
    step: int = 0
    loss_sum: float = 0.0


def save_checkpoint(path: Path, state: TrainState, facts: dict[str, Any]) -> None:
    """Write the state and JSON-ready facts."""
    safetensors = require("safetensors.torch", extra="train")
    optimizer = state.optimizer.state_dict()
    header = {
        "facts": facts,
        "param_groups": optimizer["param_groups"],
        "schedule": state.schedule.state_dict(),
        "scaling": state.scaling.state_dict(),
        "averaged_steps": state.average.steps if state.average else 0,
    }
    tensors = {f"model.{name}": tensor for name, tensor in state.model.state_dict().items()}
    if state.average is not None:
        averaged = state.average.model.state_dict()
        tensors |= {f"average.{name}": tensor for name, tensor in averaged.items()}
    for number, moments in optimizer["state"].items():
        for name, value in moments.items():
            if value is not None:
                tensors[f"optimizer.{number}.{name}"] = torch.as_tensor(value)
    tensors["rng.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["rng.cuda"] = torch.cuda.get_rng_state()
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_file(path) as temporary:
        safetensors.save_file(contiguous, temporary, metadata={HEADER: json.dumps(header)})


def read_facts(path: Path) -> dict[str, Any]:
    """Read the facts of `save_checkpoint`.

    Raises:
        ModelNotFoundError: there is no such file.
        WeightsError: it is not a checkpoint of ours.
    """
    facts: dict[str, Any] = _read_header(path)["facts"]
    return facts


@dataclass(frozen=True)
class Plan:
    """A requested training.

    Attributes:
        processes: how many train together; they decide how many windows a step has.
    """

    config: ModelConfig
    recipe: TrainRecipe
    data: DataFacts
    processes: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return asdict(self)


def read_plan(run: Path) -> Plan:
    """Read the plan of the training in a run folder.

    Raises:
        ModelNotFoundError: there is no training.
        WeightsError: it is not a checkpoint of ours, or is from another version.
    """
    facts = read_facts(run / LAST_FILE)
    try:
        return Plan(
            config=ModelConfig.from_dict(facts["config"]),
            recipe=TrainRecipe(**facts["recipe"]),
            data=DataFacts.from_dict(facts["data"]),
            processes=facts["processes"],
        )
    except (KeyError, TypeError) as error:
        raise WeightsError(
            f"{run / LAST_FILE} is from another version of istvt ({error!r}): train again"
        ) from error


def load_checkpoint(path: Path, state: TrainState) -> None:
    """Load a saved state into freshly built objects of the same kind.

    Raises:
        ModelNotFoundError: there is no such file.
        WeightsError: it is not a checkpoint of ours, or does not fit.
    """
    header = _read_header(path)
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "optimizer": {}, "rng": {}}
    for name, tensor in require("safetensors.torch", extra="train").load_file(path).items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in parts["optimizer"].items():
        number, _, moment = name.partition(".")
        moments.setdefault(int(number), {})[moment] = tensor
    try:
        state.model.load_state_dict(parts["model"], strict=True)
        if state.average is not None:
            state.average.load(parts["average"], header["averaged_steps"])
        state.optimizer.load_state_dict({"state": moments, "param_groups": header["param_groups"]})
    except (RuntimeError, ValueError, KeyError) as error:
        raise WeightsError(f"{path} does not fit the model or its recipe: {error}") from error
    state.schedule.load_state_dict(header["schedule"])
    state.scaling.load_state_dict(header["scaling"])
    torch.set_rng_state(parts["rng"]["cpu"])
    if torch.cuda.is_available() and "cuda" in parts["rng"]:
        torch.cuda.set_rng_state(parts["rng"]["cuda"])


def _read_header(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ModelNotFoundError(f"{path} is missing: there is no training to resume")
    safetensors = require("safetensors", extra="train")
    try:
        with safetensors.safe_open(path, framework="pt") as stored:
            header: dict[str, Any] = json.loads((stored.metadata() or {})[HEADER])
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise WeightsError(f"{path} is not a training checkpoint: {error!r}") from error
    return header
