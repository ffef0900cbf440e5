"""A check that starts a process, and hangs as a kernel can."""

import os
import subprocess
import sys
import time
from pathlib import Path

from gpu_check.result import Outcome, Settings


def hangs_with_a_child(settings: Settings) -> Outcome:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    (Path(settings.work) / "pids").write_text(f"{os.getpid()} {child.pid}\n")
    time.sleep(60)
    return Outcome()


CHECKS = {"hangs": hangs_with_a_child}
