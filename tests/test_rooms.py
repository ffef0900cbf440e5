"""The house stands: rooms import only from below, the docs show them, none is crowded."""

from collections import Counter
from graphlib import TopologicalSorter

import pytest

from tests import rooms


def test_every_room_imports_only_from_below():
    assert rooms.upward_imports() == []


def test_no_modules_import_each_other_in_a_circle():
    tuple(TopologicalSorter(rooms.import_graph()).static_order())  # raises CycleError


def test_no_command_imports_another():
    shared = {"commands", "commands.options", "commands.output"}
    for name, imported in rooms.import_graph().items():
        if name.startswith("commands.") and name not in shared:
            others = {one for one in imported if one.startswith("commands.")}
            assert others <= shared, name


def test_every_folder_is_a_room():
    found = {rooms.room_of(path) for path in rooms.modules().values()} - {rooms.GROUND}
    assert found == {room for floor in rooms.FLOORS for room in floor}


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("records.py", "from istvt.runtime import window"),
        ("runtime/window.py", "import istvt.export.build"),
        ("runtime/backends/cuda/graph.py", "from istvt.runtime.backends.choose import BACKENDS"),
        ("video/cuts.py", "def f():\n    from istvt.faces.boxes import iou"),
        ("api.py", "from istvt.commands import train"),
    ],
)
def test_an_import_that_leads_up_is_found(room, line, monkeypatch, tmp_path):
    copy = tmp_path / "istvt"
    for path in rooms.modules().values():
        target = copy / path.relative_to(rooms.ROOT / "istvt")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(path.read_text())
    with (copy / room).open("a") as module:
        module.write(f"\n{line}\n")
    monkeypatch.setattr(rooms, "ROOT", tmp_path)
    (found,) = rooms.upward_imports()
    assert found.startswith(room.removesuffix(".py").replace("/", "."))


def test_no_folder_is_crowded():
    counts = Counter(
        path.parent for path in rooms.modules().values() if not path.stem.startswith("__")
    )
    assert {str(folder): n for folder, n in counts.items() if n > rooms.MOST_MODULES} == {}


def test_the_docs_show_the_rooms():
    assert rooms.PAGE.read_text() == rooms.page_with_table(), "run python -m tests.rooms"
