"""Define the record that every check returns."""

from dataclasses import dataclass
from enum import Enum


class Status(str, Enum):
    """The outcome of a check; only optional things can be absent."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"
    ABSENT = "absent"


@dataclass(frozen=True)
class Check:
    """One line of the table.

    Attributes:
        fix: how to fix it, as a command if possible; empty if nothing needs to be done.
        runs_models: whether this is a backend; one passing check of this kind is enough.
    """

    name: str
    status: Status
    detail: str
    fix: str = ""
    runs_models: bool = False
