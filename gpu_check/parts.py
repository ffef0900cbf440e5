"""The parts of the check, in the order of their worth: time may run out before the last.

A part that did not fit can be run alone, by its name.
"""

from dataclasses import dataclass
from importlib import import_module

from gpu_check.check import Check

HERE = "gpu_check"


@dataclass(frozen=True)
class Part:
    """Checks that belong together.

    Attributes:
        module: holds `CHECKS`, by name; importing it loads no heavy package.
        timeout_s: for one check.
        isolated: each check has a process of its own; otherwise a process lasts until it fails.
    """

    name: str
    title: str
    module: str
    timeout_s: float
    isolated: bool = False

    @property
    def checks(self) -> dict[str, Check]:
        """What the part does, by name, in order."""
        checks: dict[str, Check] = import_module(self.module).CHECKS
        return checks


PARTS = (
    Part("rates", "What this GPU can do", f"{HERE}.rates", 60),
    Part("kernels", "The attention kernels in PyTorch", f"{HERE}.kernels", 120),
    Part("driver", "The kernels' PTX, launched as an engine does", f"{HERE}.driver", 60),
    Part("model", "The model against fp32 on the CPU", f"{HERE}.model", 90),
    Part("latency", "Latency in PyTorch, fp16", f"{HERE}.latency", 150, isolated=True),
    Part("scorers", "The exported model, fp16", f"{HERE}.scorers", 300, isolated=True),
    Part("profile", "Where the time of PyTorch goes, fp16", f"{HERE}.profile", 150, isolated=True),
    Part("suite", "The kernels' GPU tests", f"{HERE}.suite", 180),
    Part("formats", "The exported model, bf16 and fp32", f"{HERE}.formats", 300, isolated=True),
    Part("training", "Training steps in bf16", f"{HERE}.training", 60),
    Part("tuned", "Latency in PyTorch, tuned for minutes", f"{HERE}.tuned", 300, isolated=True),
    Part("builds", "The exported model, built for minutes", f"{HERE}.builds", 300, isolated=True),
)
