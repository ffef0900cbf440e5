"""What a check found: the record that all checks return."""

from dataclasses import dataclass
from enum import Enum


class Status(str, Enum):
    """How a check ended; what is absent is optional."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"
    ABSENT = "absent"


@dataclass(frozen=True)
class Check:
    """One line of the table.

    Attributes:
        fix: what to do about it, a command where there is one; empty where nothing is to be done.
        runs_models: it is a backend, so that one passing check of this kind is enough.
    """

    name: str
    status: Status
    detail: str
    fix: str = ""
    runs_models: bool = False
