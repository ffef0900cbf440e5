"""Export a run to a bundle, and look at how far each step moved the logits.

python examples/03_export_and_check_parity.py runs/mine mine.istvt
"""

import sys

import istvt
from istvt.errors import GateError


def main(run: str, out: str) -> None:
    try:
        exported = istvt.export_bundle(run, out, precision="fp16")
    except GateError as error:
        sys.exit(f"{out} stays as it was: {error}")
    for step in exported.parity:
        print(f"{step.reference} -> {step.candidate}: |Δlogit| at most {step.max_abs_logit:.1e}")
    print(f"wrote {exported.bundle.folder} ({exported.bundle.precision})")


if __name__ == "__main__":
    main(*sys.argv[1:])
