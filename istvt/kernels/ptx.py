"""Inspect and edit a kernel's PTX: its parameters, memory accesses and assembler report."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from istvt.errors import RuntimeEnvironmentError

_PARAMETERS = re.compile(r"(\.visible \.entry \w+\()(.*?)(\n\))", re.DOTALL)
_NAME_OF_PARAMETER = re.compile(r"(\w+)$")
# Loads to registers, and copies to shared memory, whose size is their last or last but one operand.
_LOAD = re.compile(r"\bld\.global\S*")
_COPY = re.compile(r"\bcp\.async\.c[ag]\.shared\.global\S* [^;]*?, (0x[0-9a-f]+|\d+)(?:, [^,;]+)?;")


@dataclass(frozen=True)
class Loads:
    """Numbers of instructions that read global memory, by the bytes each reads per thread."""

    vector: int
    narrower: int


@dataclass(frozen=True)
class Assembly:
    """The assembler's report on a kernel.

    Attributes:
        num_registers: registers per thread.
        spill_bytes: bytes stored and loaded per thread for lack of registers.
        stack_bytes: stack per thread.
    """

    num_registers: int
    spill_bytes: int
    stack_bytes: int


def drop_parameters(ptx: str, count: int) -> str:
    """Remove the last parameters of the entry point.

    Raises:
        RuntimeEnvironmentError: there are too few, or the code uses one of them.
    """
    entry = _PARAMETERS.search(ptx)
    parameters = entry.group(2).split(",\n") if entry else []
    if entry is None or len(parameters) < count:
        raise RuntimeEnvironmentError(f"the PTX has {len(parameters)} parameters: expected {count}")
    kept, dropped = parameters[:-count], parameters[-count:]
    shorter = ptx[: entry.end(1)] + ",\n".join(kept) + ptx[entry.start(3) :]
    for parameter in dropped:
        name = _NAME_OF_PARAMETER.search(parameter.strip())
        if name is None or re.search(rf"\b{name.group(1)}\b", shorter):
            raise RuntimeEnvironmentError(f"the kernel uses its parameter {parameter.strip()!r}")
    return shorter


def count_parameters(ptx: str) -> int:
    """Count the entry point's parameters."""
    entry = _PARAMETERS.search(ptx)
    return len(entry.group(2).split(",\n")) if entry else 0


def count_loads(ptx: str) -> Loads:
    """Count the instructions that read global memory; a vector load reads 16 bytes per thread."""
    loads = [_load_bytes(instruction) for instruction in _LOAD.findall(ptx)]
    loads += [int(size, 0) for size in _COPY.findall(ptx)]
    return Loads(vector=loads.count(16), narrower=sum(size < 16 for size in loads))


def assemble(ptx: str, *, ptxas: str) -> Assembly:
    """Assemble the PTX for its own target.

    Raises:
        RuntimeEnvironmentError: the assembler refused it, or its report could not be read.
    """
    target = re.search(r"^\.target (\w+)", ptx, re.MULTILINE)
    if target is None:
        raise RuntimeEnvironmentError("the PTX names no target")
    with TemporaryDirectory() as folder:
        source = Path(folder) / "kernel.ptx"
        source.write_text(ptx)
        command = [ptxas, "-v", f"--gpu-name={target[1]}", str(source), "-o", f"{source}.cubin"]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeEnvironmentError(f"ptxas refused the PTX for {target[1]}: {run.stderr}")
    return Assembly(
        num_registers=_number_before(" registers", run.stderr),
        spill_bytes=_number_before(" bytes spill stores", run.stderr)
        + _number_before(" bytes spill loads", run.stderr),
        stack_bytes=_number_before(" bytes stack frame", run.stderr),
    )


def _load_bytes(instruction: str) -> int:
    parts = instruction.split(".")
    lanes = next((int(part[1:]) for part in parts if re.fullmatch(r"v\d", part)), 1)
    return lanes * int(re.sub(r"\D", "", parts[-1])) // 8


def _number_before(words: str, report: str) -> int:
    found = re.search(rf"(\d+){words}", report)
    if found is None:
        raise RuntimeEnvironmentError(f"ptxas reports no{words}: {report}")
    return int(found[1])
