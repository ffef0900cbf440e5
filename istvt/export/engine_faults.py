"""What a parser or builder complains of in, what is wrong and what to do out."""

from pathlib import Path
from typing import Any

from istvt.export.flavour import TITLES, Flavour

KEPT_MESSAGES = 8


def explain_parser(parser: Any, graph: Path, flavour: Flavour) -> str:
    """Name the first node that could not be read, and where in a function it stands."""
    lines = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        inside = " in ".join(["", *reversed(error.local_function_stack())])
        reason = " ".join(error.desc().split())
        lines.append(f"  node {error.node_name()!r} ({error.node_operator()}){inside}: {reason}")
    return (
        f"{TITLES[flavour]} cannot read {graph}:\n"
        + "\n".join(lines[:KEPT_MESSAGES])
        + "\nexport the model again with this istvt; if that fails too, use another runtime "
        "(--engine none, then --backend onnxruntime)"
    )


def explain_builder(messages: list[str], graph: Path, flavour: Flavour) -> str:
    """Give the last messages of a failed build and, by what they are about, a remedy."""
    text = "\n".join(f"  {message}" for message in messages[-KEPT_MESSAGES:])
    lowered = text.lower()
    if "memory" in lowered or "workspace" in lowered:
        remedy = "give a smaller --max-batch, or another --workspace-mb"
    elif "type" in lowered or "precision" in lowered:
        remedy = "export in another precision (--fp16, --bf16 or --fp32)"
    else:
        remedy = "export in another precision, or for fewer GPUs (--compute-capability)"
    return f"{TITLES[flavour]} cannot build {graph}:\n{text}\n{remedy}"
