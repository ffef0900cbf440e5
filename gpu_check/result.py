"""What one check found."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from istvt.presets import ModelPreset, preset_named
from istvt.records import FloatPrecision

Status: TypeAlias = Literal["pass", "fail", "measured", "not run"]
STATUSES: tuple[Status, ...] = get_args(Status)
DeviceKind: TypeAlias = Literal["cuda", "cpu"]


class CannotRunError(Exception):
    """This machine lacks what a check needs; says what."""


@dataclass(frozen=True)
class Settings:
    """What all checks of one run share.

    Attributes:
        device: `cuda`, or `cpu` where the run only rehearses the checks.
        preset_name: of the model.
        work: a folder for files that later checks read.
        seconds: of measuring, for each figure.
    """

    device: DeviceKind
    preset_name: str
    work: str
    seconds: float = 1.0

    @property
    def half(self) -> FloatPrecision:
        """The number format of latencies: CPUs are too slow in fp16 to rehearse in it."""
        return "fp16" if self.device == "cuda" else "bf16"

    @property
    def preset(self) -> ModelPreset:
        """The model's sizes."""
        return preset_named(self.preset_name)

    @property
    def stage_file(self) -> Path:
        """Holds what is being built or compiled, while it is."""
        return Path(self.work) / "stage.txt"

    @contextmanager
    def building(self, what: str) -> Iterator[None]:
        """Tell the parent what takes so long: a check that it then stops was not run."""
        self.stage_file.write_text(what, encoding="utf-8")
        try:
            yield
        finally:
            self.stage_file.unlink(missing_ok=True)


@dataclass(frozen=True)
class Outcome:
    """What a check gives.

    Attributes:
        figures: by name, units in the names.
        passed: None where there is nothing to pass.
        note: one sentence for the table.
    """

    figures: Mapping[str, float] = field(default_factory=dict)
    passed: bool | None = None
    note: str = ""

    @property
    def status(self) -> Status:
        """How it stands in the table."""
        if self.passed is None:
            return "measured"
        return "pass" if self.passed else "fail"


@dataclass(frozen=True)
class Result:
    """One row: a check of a part, and what came of it.

    Attributes:
        note: of a row that was not run or failed, the reason.
        seconds: that it took, loading included.
        trace: of a failed row, where in the code, as far as that is known.
        log: what its process printed, a file's path within the folder of the report.
    """

    part: str
    check: str
    status: Status
    note: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    trace: str = ""
    log: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Turn into what JSON can hold."""
        figures = {
            name: value if math.isfinite(value) else str(value)  # JSON knows no infinity
            for name, value in self.figures.items()
        }
        return {**asdict(self), "figures": figures}
