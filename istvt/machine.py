"""What this process may use of the machine."""

import os


def count_cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # macOS and Windows have no such thing
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
