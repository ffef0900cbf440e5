"""Write a training's state to its run folder, in an order that survives a kill."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from istvt.models.load import CONFIG_FILE, WEIGHTS_FILE, save_config, save_weights
from istvt.records import FloatPrecision
from istvt.training.run.checkpoint import (
    LAST_FILE,
    Plan,
    Position,
    TrainState,
    load_checkpoint,
    read_facts,
    save_checkpoint,
)
from istvt.training.run.epochs import METRICS_FILE, EpochResult, best_of, epoch_from, write_metrics
from istvt.training.run.folder import writing
from istvt.training.run.tracking import Tracker

KEPT_FILES = (LAST_FILE, WEIGHTS_FILE, CONFIG_FILE, METRICS_FILE)
SAFETENSORS_PATTERN = ".tmp??????"  # safetensors 0.8 writes to such a name, then renames it


@dataclass(frozen=True)
class Progressed:
    """How far a training has come: finished epochs, position in the current one, and seconds."""

    epochs: tuple[EpochResult, ...]
    position: Position
    elapsed_s: float


class Keeper:
    """Writes in the first process, and does nothing in the others."""

    def __init__(self, run: Path, plan: Plan, precision: FloatPrecision, *, writes: bool) -> None:
        self._run, self._plan, self._precision, self._writes = run, plan, precision, writes
        self._tracker: Tracker | None = None

    @contextmanager
    def tracking(self, steps: int, *, is_validated: bool) -> Iterator[None]:
        """Track scalars while the block runs, resuming after `steps`, validated or not."""
        if not self._writes:
            yield
            return
        with writing(self._run):
            self._tracker = Tracker(self._run, resumed_at=steps, is_validated=is_validated)
        try:
            yield
        finally:
            with writing(self._run):
                self._tracker.close()

    def track(self, step: int, values: Mapping[str, float]) -> None:
        """Record scalars under a step."""
        if self._tracker is not None:
            with writing(self._run):
                self._tracker.scalars(step, values)

    def checkpoint(self, state: TrainState, progressed: Progressed) -> None:
        """Write everything that a resumed training needs."""
        if not self._writes:
            return
        facts = {
            **self._plan.to_dict(),
            "precision": self._precision,
            "elapsed_s": progressed.elapsed_s,
            "position": asdict(progressed.position),
            "epochs": [asdict(result) for result in progressed.epochs],
        }
        with writing(self._run, room_bytes=_room_bytes(state)):
            if self._tracker is not None:
                self._tracker.flush()  # a resumed training adds only later steps
            save_checkpoint(self._run / LAST_FILE, state, facts)

    def epoch(self, state: TrainState, progressed: Progressed) -> None:
        """Write a finished epoch's results and state.

        If its weights are the best, they are renamed only after the checkpoint that includes the
        epoch. Killed before that, the training repeats the epoch, perhaps with other weights.
        """
        if not self._writes:
            return
        epochs = progressed.epochs
        with writing(self._run, room_bytes=_room_bytes(state)):
            if best_of(epochs, self._plan.recipe.monitor) is epochs[-1]:
                save_weights(self._pending(epochs), state.kept)
            self.track(epochs[-1].steps, _scalars(epochs[-1]))
            self.checkpoint(state, progressed)
            self._name_weights(epochs)
            write_metrics(self._run, epochs)

    def restore(self, state: TrainState) -> Progressed:
        """Load the newest checkpoint into a state, and bring the other files in line with it."""
        facts = read_facts(self._run / LAST_FILE)
        load_checkpoint(self._run / LAST_FILE, state)
        epochs = tuple(epoch_from(values) for values in facts["epochs"])
        if self._writes:
            with writing(self._run):
                if epochs:
                    self._name_weights(epochs)
                    write_metrics(self._run, epochs)
                _sweep(self._run)
        return Progressed(epochs, Position(**facts["position"]), facts["elapsed_s"])

    def _name_weights(self, epochs: tuple[EpochResult, ...]) -> None:
        """Rename the best epoch's weights to their final name, if they are pending."""
        pending = self._pending(epochs)
        if pending.exists():
            save_config(self._run / CONFIG_FILE, self._plan.config)
            pending.replace(self._run / WEIGHTS_FILE)

    def _pending(self, epochs: tuple[EpochResult, ...]) -> Path:
        """Return the path of the best epoch's weights before the rename; `_sweep` matches it."""
        best = best_of(epochs, self._plan.recipe.monitor)
        return self._run / f".weights-epoch{best.epoch}.safetensors"


def restored_precision(run: Path) -> FloatPrecision:
    """Return the precision that the training in a run folder settled on."""
    precision: FloatPrecision = read_facts(run / LAST_FILE)["precision"]
    return precision


def _scalars(result: EpochResult) -> dict[str, float]:
    windows, videos = asdict(result.val_windows), asdict(result.val_videos)
    return {
        "val/loss": result.val_loss,
        **{f"val/windows/{name}": value for name, value in windows.items() if name != "count"},
        **{f"val/videos/{name}": value for name, value in videos.items() if name != "count"},
    }


def _room_bytes(state: TrainState) -> int:
    """Return the bytes of weights and checkpoint, twice: old and new coexist for a moment."""
    weights = sum(tensor.nbytes for tensor in state.model.state_dict().values())
    moments = 2
    return 2 * weights * (1 + 1 + moments + (state.average is not None))


def _sweep(run: Path) -> None:
    """Remove files that a kill left half written."""
    ours = (name.rpartition(".") for name in KEPT_FILES)
    for pattern in (*(f".{stem}-*.{suffix}" for stem, _, suffix in ours), SAFETENSORS_PATTERN):
        for left in run.glob(pattern):
            left.unlink(missing_ok=True)
