"""The real torchrun, which stops the other processes as soon as one has ended badly."""

import os
import subprocess
import sys
from pathlib import Path

from istvt.errors import ExitCode

# Rank 1 is done at once; rank 0 tells of the stop later than torchrun takes to see that (0.1 s).
STOPPED = """
import sys, time
from pathlib import Path
import torch.distributed as dist
from istvt.commands import train as command
from istvt.console import run_and_exit
from istvt.training import fit
from istvt.training.stop import TrainingStopped

def stopped(*_, **__):
    dist.init_process_group("gloo")
    raise TrainingStopped(Path("run"), epoch=2, step=3)

def tell(error, data):
    time.sleep(1)
    Path(sys.argv[1]).write_text(str(error))
    return "go on with this"

fit.fit, command._how_to_continue = stopped, tell
run_and_exit(lambda **_: command.train(Path("data"), Path("run")))
"""


def test_the_first_process_tells_how_to_go_on_before_torchrun_stops_it(tmp_path: Path) -> None:
    script, told = tmp_path / "stopped.py", tmp_path / "told.txt"
    script.write_text(STOPPED)
    found = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", str(script), str(told)),
        ],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.returncode != ExitCode.DONE
    assert told.is_file(), found.stderr
    assert found.stderr.count("go on with this") == 1, found.stderr
    assert found.stderr.count(f"exitcode  : {int(ExitCode.INTERRUPTED)}") >= 1, found.stderr
