"""State which folder may import which, and generate the table of docs/architecture.md.

`python -m tests.rooms` rewrites the table.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- rooms: python -m tests.rooms -->", "<!-- /rooms -->"
MOST_MODULES = 16

# From the roof to the ground: a room imports from itself and from rooms below, never from above.
# A folder inside a folder is a room of its own. Rooms of one floor do not import each other.
FLOORS: tuple[dict[str, str], ...] = (
    {"cli": "the command `istvt`: puts the commands together"},
    {"commands": "one module for each command: parse options, make one call, print"},
    {"demo": "the steps and the page of `istvt demo`"},
    {
        "benchmarks": "latency of every backend beside naive PyTorch",
        "checks": "what a machine has, and what works on it",
    },
    {"api": "assembles the parts: `open_model`, `prepare`, `train`, `evaluate`, `export_bundle`"},
    {"export": "a run becomes a bundle: graphs, precision, the order of the steps"},
    {"export/engines": "TensorRT engines: build, plugins, comparison with the graphs"},
    {"runtime/sinks": "where results go: terminal, JSON lines, pictures, reports"},
    {"runtime": "frames become verdicts: pipeline, hub, window, policy, session, parity"},
    {"runtime/backends": "one module for each runtime: PyTorch, ONNX Runtime, OpenVINO, TensorRT"},
    {"runtime/backends/cuda": "memory, streams, graphs and engines on an NVIDIA GPU"},
    {"training": "moves weights: loop, step, optimizer, several processes"},
    {"training/run": "a training on disk: recipe, checkpoint, metrics, curve"},
    {"evaluation": "a model and a split become numbers: scores, metrics, intervals, report"},
    {"calibration": "clips become windows, windows become INT8 ranges"},
    {"bundle": "what lies on the device: manifest, engine records; never torch or onnx"},
    {"kernels": "the fused attention: Triton sources, PTX, ONNX function bodies"},
    {"data": "a data set opened: raw or prepared, split by split"},
    {"data/windows": "shards become samples: windows, augmentation, recompression"},
    {"data/synthetic": "clips made of portraits, fakes blended from real frames"},
    {"data/prepared": "videos become shards of face crops"},
    {"data/layouts": "a folder or a CSV becomes a manifest: one module for each layout"},
    {"models": "the model that a configuration names, its weights on disk; MesoNet-4"},
    {"models/istvt": "ISTVT in PyTorch: attention, block, encoder, foreign weights"},
    {"models/base": "the detector contract: what most of the toolkit needs of a model"},
    {
        "faces": "MTCNN in ONNX Runtime, alignment, tracking",
        "video": "sources, cuts, sampling, the writer",
    },
)
SINGLE = ("cli", "api", "models/base")  # modules that are rooms of their own
GROUND = "ground"  # the other modules directly in istvt/


def modules() -> dict[str, Path]:
    """Name every module of the package, as `runtime.window`, with its file."""
    found = {}
    for path in sorted((ROOT / "istvt").rglob("*.py")):
        parts = path.relative_to(ROOT / "istvt").with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def room_of(path: Path) -> str:
    """Give the room that a file lies in."""
    inside = path.relative_to(ROOT / "istvt").with_suffix("")
    if inside.as_posix() in SINGLE:
        return inside.as_posix()
    return inside.parent.as_posix() if len(inside.parts) > 1 else GROUND


def imports_of(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """Give the modules of the package that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [
                name if name.removeprefix("istvt.") in known else node.module for name in names
            ]
        else:
            continue
        yield from (name[6:] for name in names if name.startswith("istvt."))


def floor_of(room: str) -> int:
    """Count floors from the roof; the ground is below all."""
    if room == GROUND:
        return len(FLOORS)
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


def import_graph() -> dict[str, set[str]]:
    """Map each module to the modules that it imports."""
    known = modules()
    return {name: set(imports_of(path, known)) - {name} for name, path in known.items() if name}


def upward_imports() -> list[str]:
    """List the imports that do not lead down, as `a -> b`."""
    known = modules()
    found = []
    for name, path in known.items():
        if name in ("", "__main__"):
            continue
        for other in imports_of(path, known):
            here, there = room_of(path), room_of(known[other])
            if here != there and floor_of(there) <= floor_of(here):
                found.append(f"{name} -> {other}")
    return found


def table() -> str:
    """Lay the floors out as a table in Markdown."""
    rows = [
        (f"`{room}`" if room in SINGLE else f"`{room}/`", what)
        for floor in FLOORS
        for room, what in floor.items()
    ]
    ground = ", ".join(
        f"`{name}`"
        for name, path in modules().items()
        if room_of(path) == GROUND and name not in ("", "__main__")
    )
    rows.append((ground, "what every room may use"))
    return "\n".join(["| room | holds |", "| --- | --- |", *(f"| {a} | {b} |" for a, b in rows)])


def page_with_table() -> str:
    """Give the page with the table in its place."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page_with_table())
